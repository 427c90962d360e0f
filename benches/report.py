"""The page and the picture that a run writes, and the targets that it holds the service to."""

import dataclasses
import datetime
import os
import pathlib
import platform
import re
import subprocess

from extent import Extent


@dataclasses.dataclass
class Target:
    what: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self) -> bool:
        if self.at_least is not None:
            return self.measured >= self.at_least
        return self.measured <= self.at_most

    def row(self) -> list[str]:
        bound = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        return [self.what, bound, f"{self.measured:.2f}", "met" if self.is_met() else "**missed**"]


@dataclasses.dataclass
class Section:
    """A part of the page: a table, and what it means."""

    title: str
    text: str
    columns: list[str]
    rows: list[list[str]]
    targets: list[Target] = dataclasses.field(default_factory=list)
    # What the picture shows of it, at 64 connections as multiples of the limit.
    bars: dict[str, float] = dataclasses.field(default_factory=dict)

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"## {self.title}\n\n{self.text.strip()}\n\n{table}\n"


def page(sections: list[Section], extent: Extent) -> str:
    targets = Section(
        "Targets",
        "`scripts/bench` fails if one is missed.",
        ["", "target", "measured", ""],
        [target.row() for section in sections for target in section.targets],
    )
    introduction = f"""\
# Benchmarks

`scripts/bench` has measured all of this in one run, and has written this page. Servers run on one core
and the load on another. What is compared is measured in turns, and a ratio is of figures of the same round.
Figures are medians of {extent.rounds} rounds of one second each. Of *HIT in memory* and *HIT in Redis* there are
{extent.rounds_of_hits} rounds, and {2 * extent.rounds_of_hits} with 64 connections.
Compare figures of one run only: they depend on the machine, and their ratios much less so.

{machine()}
"""
    return "\n".join([introduction, *(section.markdown() for section in [targets, *sections])])


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {
        "Linux": platform.release(),
        "Rust": version("rustc", "--version"),
        "Redis": version("redis-server", "--version"),
        "PostgreSQL": version("psql", "--version"),
        "nginx": version("nginx", "-v"),
        "Varnish": version("varnishd", "-V"),
        "Python": platform.python_version(),
    }
    return (
        f"{datetime.date.today()}; {os.cpu_count()} cores of {model[1] if model else platform.machine()}, "
        f"{memory:.0f} GiB; " + ", ".join(f"{name} {number}" for name, number in versions.items()) + "."
    )


def version(*command: str) -> str:
    shown = subprocess.run(command, capture_output=True, text=True)
    return re.search(r"\d+\.\d+(\.\d+)?", shown.stdout + shown.stderr)[0]


def picture(sections: list[Section]) -> str:
    """The bars of all sections, as SVG."""
    bars = {name: ratio for section in sections for name, ratio in section.bars.items()}
    height, width, left = 26, 620, 170
    longest = max(bars.values())
    shapes = []
    for index, (name, ratio) in enumerate(bars.items()):
        top = index * height + 4
        length = ratio / longest * (width - left - 50)
        color = "#2563eb" if name.startswith("HIT") else "#94a3b8"
        shapes.append(
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{name}</text>'
            f'<rect x="{left}" y="{top}" width="{length:.1f}" height="18" rx="2" fill="{color}"/>'
            f'<text x="{left + length + 6:.1f}" y="{top + 14}">{ratio:.2f}</text>\n'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {len(bars) * height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#64748b">\n'
        + "".join(shapes)
        + "</svg>\n"
    )
