"""Measures everything, writes docs/BENCHMARKS.md and its picture, and fails where a target is missed.

See scripts/bench.
"""

import os
import pathlib
import sys
import time

import answers
from extent import FULL, QUICK, Extent
import growth
import instructions
import polls
import reads_and_writes
import report
from servers import Servers

DOCS = pathlib.Path(__file__).parent.parent / "docs"


def main(extent: Extent) -> None:
    began = time.monotonic()
    sections = []

    def done(*measured: report.Section) -> None:
        sections.extend(measured)
        print(f"{time.monotonic() - began:4.0f} s: {', '.join(section.title for section in measured)}")

    with Servers() as servers:
        done(*answers.measure(servers, extent))
    with Servers() as servers:
        done(*reads_and_writes.measure(servers, extent))
    with Servers() as servers:
        done(growth.entries(servers, extent))
        done(growth.instances(servers, extent))
        done(growth.process(servers))
        done(polls.measure(servers))
    done(instructions_of_a_request())

    page = report.page(sections, extent)
    print(page)
    (DOCS / "BENCHMARKS.md").write_text(page)
    (DOCS / "images/benchmarks.svg").write_text(report.picture(sections))
    missed = [target for section in sections for target in section.targets if not target.is_met()]
    for target in missed:
        print(f"scripts/bench: missed: {' '.join(target.row()[:3])}", file=sys.stderr)
    sys.exit(1 if missed else 0)


def instructions_of_a_request() -> report.Section:
    counted = instructions.count(os.environ["MEGASTATS"])
    ratios = instructions.growth(counted)
    return report.Section(
        "Instructions",
        """
Counted by callgrind, without those of the kernel: a figure that no other process can disturb. The reference
is `benches/instructions.json`, which `.ci/run` compares, too.
""",
        ["", "instructions", "of the reference"],
        [[kind, f"{number:,}", f"{ratios.get(kind, 1):.3f}"] for kind, number in counted.items()],
        [
            report.Target(f"instructions of a {kind} / reference", ratio, at_most=1 + instructions.TOLERANCE)
            for kind, ratio in ratios.items()
        ],
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main(FULL)
        case ["--quick"]:
            main(QUICK)
        case _:
            sys.exit("usage: scripts/bench [--quick]")
