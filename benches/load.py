"""Puts load on servers with wrk, from the load's core, in turns."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile

from servers import HERE, LOAD_CORE, PATH


@dataclasses.dataclass
class Case:
    """Requests to one server, which are measured in turn with other cases."""

    name: str
    port: int
    path: str = PATH
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    # Lines METHOD PATH [BODY], sent in turn instead of a GET of `path`.
    requests: list[str] | None = None
    # The word NUMBER in the requests' paths is a random number up to this one.
    numbers: int | None = None
    # One measurement each round, by the number of connections.
    measured: dict[int, list[dict]] = dataclasses.field(default_factory=dict)

    def wrk(self, connections: int, seconds: int, **variables) -> subprocess.Popen:
        """Starts wrk; `variables` are those of load.lua."""
        command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
        command += ["--timeout", "60s", "-s", str(HERE / "load.lua")]
        for name, value in self.headers.items():
            command += ["-H", f"{name}: {value}"]
        variables["CONNECTIONS"] = connections
        if self.numbers:
            variables["NUMBERS"] = self.numbers
        if self.requests:
            with tempfile.NamedTemporaryFile("w", suffix=".requests", delete=False) as file:
                file.write("\n".join(self.requests) + "\n")
            variables["REQUESTS"] = file.name
        return subprocess.Popen(
            [*command, f"http://127.0.0.1:{self.port}{self.path}"],
            env=os.environ | {name: str(value) for name, value in variables.items()},
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, connections: int) -> None:
        """Measures for a second, or for longer if no request has an answer by then."""
        figures = printed(self.wrk(connections, 1))
        if figures["per_second"] == 0:
            figures = printed(self.wrk(connections, 10))
        if figures["failed"]:
            print(f"{self.name}: {figures['failed']:.0f} requests failed", file=sys.stderr)
        self.measured.setdefault(connections, []).append(figures)

    def figure(self, connections: int, name: str = "per_second") -> float:
        """The median of the rounds; times are in microseconds."""
        return statistics.median(figures[name] for figures in self.measured[connections])

    def ratios(self, other: "Case", connections: int) -> list[float]:
        """The rate of each round as a multiple of that of `other` in the same round: a machine is often
        faster in one round than in the next."""
        rounds = zip(self.measured[connections], other.measured[connections], strict=True)
        return [mine["per_second"] / max(its["per_second"], 1) for mine, its in rounds]

    def ratio(self, other: "Case", connections: int) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios(other, connections))

    def multiple(self, other: "Case", connections: int) -> str:
        """The ratio to `other`, and half of the rounds' spread."""
        ratio = self.ratio(other, connections)
        return f"{ratio:.2f} ± {spread(self.ratios(other, connections)):.0%}"

    def spread(self, connections: int) -> float:
        """Half of the difference between the fastest and the slowest round, as a part of the median."""
        return spread([figures["per_second"] for figures in self.measured[connections]])

    def times(self, connections: int) -> str:
        """The time that 50, 99 and 99.9 % of the requests took at most, in milliseconds."""
        names = ["p50", "p99", "p999"]
        return " / ".join(f"{self.figure(connections, name) / 1000:.3g}" for name in names)


def spread(figures: list[float]) -> float:
    """Half of the difference between the largest and the smallest, as a part of the median."""
    return (max(figures) - min(figures)) / 2 / statistics.median(figures)


def printed(wrk: subprocess.Popen) -> dict:
    """What wrk has measured, once it ends."""
    output, _ = wrk.communicate()
    return json.loads(output.splitlines()[-1])


def connections_in_words(number: int) -> str:
    return "1 connection" if number == 1 else f"{number} connections"


def in_turns(rounds: int, cases: list[Case], connections: tuple[int, ...]) -> None:
    """Measures each case for a second in each round, with each number of connections."""
    for _ in range(rounds):
        for number in connections:
            for case in cases:
                case.measure(number)
