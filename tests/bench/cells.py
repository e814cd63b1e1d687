"""Measurements: one operation at one number of connections, for several contenders in turn, round after round."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tests.bench.clocks import cpu_seconds, peak_bytes, reset_peak
from tests.bench.contenders import Contender
from tests.bench.load import LoadFailed, Played
from tests.bench.operations import MIB, Operation

SATURATED: Final = 0.7
"""The share of one core from which on the load generator, which has one thread, may be what limits the rate."""


@dataclass(frozen=True)
class Cell:
    """What is measured, and for whom."""

    operation: Operation
    connections: int
    contenders: tuple[str, ...]
    rounds: int
    seconds: float = 1.0
    """Roughly, for each contender in each round."""

    @property
    def name(self) -> str:
        return f"{self.operation.name}, {self.connections} connection{'s' * (self.connections > 1)}"


@dataclass(frozen=True)
class Sample:
    """One contender in one round."""

    rate: float
    """Requests per second."""
    megabytes: float
    """10^6 bytes of bodies per second."""
    p50: float
    """Milliseconds, as ``p99``."""
    p99: float
    cpu: Mapping[str, float]
    """Microseconds of CPU per request, of the processes in front and of the store."""
    peak: int
    """Bytes that the largest process in front (the store, where nobody stands in front) has had in memory."""
    generator: float
    """The share of one core that the load generator took."""


@dataclass
class Measured:
    """All samples of a cell for one contender."""

    cell: Cell
    contender: str
    samples: list[Sample] = field(default_factory=list)
    fault: str | None = None

    def median(self, of: Callable[[Sample], float]) -> float:
        return statistics.median(of(sample) for sample in self.samples)

    def summary(self) -> dict[str, Any]:
        """For ``bench.json``."""
        about = {
            "operation": self.cell.operation.name,
            "bytes": self.cell.operation.body,
            "connections": self.cell.connections,
            "contender": self.contender,
        }
        if not self.samples:
            return {**about, "fault": self.fault}
        names = self.samples[0].cpu
        return {
            **about,
            "requests_per_second": self.median(lambda each: each.rate),
            "megabytes_per_second": self.median(lambda each: each.megabytes),
            "p50_ms": self.median(lambda each: each.p50),
            "p99_ms": self.median(lambda each: each.p99),
            "cpu_us_per_request": {name: self.median(lambda each, n=name: each.cpu[n]) for name in names},
            "peak_rss_bytes": max(sample.peak for sample in self.samples),
            "generator_share_of_a_core": self.median(lambda each: each.generator),
            "rounds": [asdict(sample) for sample in self.samples],
        }


Results = dict[tuple[str, str], Measured]
"""By the names of cell and contender."""


def measure(cell: Cell, contenders: Mapping[str, Contender], results: Results) -> None:
    """Measures a cell; a contender that gives a wrong answer is left out from then on, with its fault noted."""
    counts: dict[str, int] = {}
    for number in range(cell.rounds + 1):
        for name in cell.contenders if number % 2 else reversed(cell.contenders):
            measured = results.setdefault((cell.name, name), Measured(cell, name))
            if measured.fault is not None:
                continue
            try:
                if number:
                    measured.samples.append(sample(cell, contenders[name], counts[name]))
                else:
                    counts[name] = _count(cell, contenders[name])
            except LoadFailed as error:
                measured.fault = str(error).splitlines()[0][:200]


def _count(cell: Cell, contender: Contender) -> int:
    """How many requests take about as long as the cell wants; finding out warms everybody up."""
    if cell.operation.body >= 8 * MIB:
        played = cell.operation.play(contender, cell.connections, cell.connections)
    else:
        played = cell.operation.play(contender, 100_000, cell.connections, min(cell.seconds, 0.5))
    wanted = int(played.count / played.seconds * cell.seconds)
    return max(cell.connections, wanted - wanted % cell.connections)


def sample(cell: Cell, contender: Contender, count: int, seconds: float | None = None) -> Sample:
    """Measures one contender once. Raises LoadFailed."""
    processes = contender.processes()
    reset_peak(pid for pids in processes.values() for pid in pids)
    before = {name: cpu_seconds(*pids) for name, pids in processes.items()}
    played = cell.operation.play(contender, count, cell.connections, seconds)
    time.sleep(0.02)
    used = {name: cpu_seconds(*pids) - before[name] for name, pids in processes.items()}
    peak = peak_bytes(processes.get("front") or processes["store"])
    return _sample(played, used, cell.operation.body, peak)


def _sample(played: Played, used: Mapping[str, float], body: int, peak: int) -> Sample:
    return Sample(
        rate=played.count / played.seconds,
        megabytes=played.count * body / played.seconds / 1e6,
        p50=played.quantile(0.5) * 1e3,
        p99=played.quantile(0.99) * 1e3,
        cpu={name: seconds / played.count * 1e6 for name, seconds in used.items()},
        peak=peak,
        generator=played.cpu / played.seconds,
    )


def ratios(results: Results, cell: Cell, ours: str, theirs: str, of: Callable[[Sample], float]) -> list[float]:
    """``ours`` by ``theirs``, round by round; empty where one of them has no figures."""
    pair = [results.get((cell.name, name)) for name in (ours, theirs)]
    if any(each is None or not each.samples for each in pair):
        return []
    first, second = (each.samples for each in pair if each is not None)
    return [of(one) / of(other) for one, other in zip(first, second, strict=False)]


def saturated(results: Results) -> Iterator[str]:
    """The measurements of rates in which the load generator took too much of a core to be sure of them."""
    for (cell, name), measured in results.items():
        if measured.samples and measured.median(lambda each: each.generator) > SATURATED:
            yield f"{cell}: {name}"
