"""The goals: what is compared with what, in the same run."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.bench.cells import Cell, Results, Sample, ratios
from tests.bench.operations import GIB, KIB, MIB, Operation

GET_SMALL: Final = Operation("GET", 4 * KIB)
PUT_SMALL: Final = Operation("PUT", 4 * KIB, "sha256")
GET_LARGE: Final = Operation("GET", 64 * MIB)
PUT_LARGE: Final = Operation("PUT", 64 * MIB, "trailer")
RANGE_LARGE: Final = Operation("range", 64 * MIB)
LIST: Final = Operation("list", KIB)
GET_8, PUT_8 = Operation("GET", 8 * MIB), Operation("PUT", 8 * MIB, "trailer")
GET_HUGE, PUT_HUGE = Operation("GET", GIB), Operation("PUT", GIB, "trailer")

_ROUNDS: Final = 5
_STORE: Final = "seaweedfs"
_OWN: Final = "seaweedfs-sse-kms"
_EVERY: Final = "proxy-all-workers"

CPU_GET = Cell(GET_SMALL, 8, ("nginx", "proxy"), _ROUNDS)
CPU_PUT = Cell(PUT_SMALL, 8, ("nginx", "proxy"), _ROUNDS)
RATE_GET = Cell(GET_SMALL, 32, ("seaweedfs", _OWN, "proxy-all-workers"), _ROUNDS)
RATE_PUT = Cell(PUT_SMALL, 32, ("seaweedfs", _OWN, "proxy-all-workers"), _ROUNDS)
RATE_RANGE = Cell(RANGE_LARGE, 32, ("seaweedfs", _OWN, "proxy-all-workers"), _ROUNDS)
BYTES_GET = Cell(GET_LARGE, 8, ("seaweedfs", "nginx", "proxy", "proxy-all-workers"), _ROUNDS)
BYTES_PUT = Cell(PUT_LARGE, 8, ("nginx", "proxy"), _ROUNDS)
LISTING = Cell(LIST, 1, ("seaweedfs", "proxy"), _ROUNDS, 2.0)
GROWTH = (
    Cell(GET_8, 1, ("proxy",), _ROUNDS),
    Cell(GET_HUGE, 1, ("proxy",), _ROUNDS),
    Cell(PUT_8, 1, ("proxy",), _ROUNDS),
    Cell(PUT_HUGE, 1, ("proxy",), _ROUNDS),
)

GOAL_CELLS: Final = (
    CPU_GET, CPU_PUT, RATE_GET, RATE_PUT, RATE_RANGE, BYTES_GET, BYTES_PUT, LISTING, *GROWTH,
)  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """A goal and how far it is met; ``measured`` is None where it could not be measured."""

    name: str
    goal: float
    at_most: bool
    measured: float | None

    @property
    def met(self) -> bool:
        if self.measured is None:
            return False
        return self.measured <= self.goal if self.at_most else self.measured >= self.goal

    def summary(self) -> dict[str, Any]:
        """For ``bench.json``."""
        sign = "<=" if self.at_most else ">="
        return {"name": self.name, "goal": f"{sign} {self.goal:g}", "measured": self.measured, "met": self.met}


@dataclass(frozen=True)
class Extra:
    """What is not measured in cells."""

    seal: float
    open: float
    """What ``AESGCM.encrypt_into`` takes by what sealing, and opening, takes."""
    range_requests: float | None = None
    """To the store, for one range of 64 KiB."""
    range_bytes: float | None = None
    """Bytes read from the store for one byte asked for."""
    peak: int | None = None
    """Bytes: the worker's peak with 32 transfers of 1 GiB at once."""


def front(sample: Sample) -> float:
    return sample.cpu["front"]


def rate(sample: Sample) -> float:
    return sample.rate


def latency(sample: Sample) -> float:
    return sample.p50


@dataclass(frozen=True)
class _Compared:
    """A goal that is a ratio of two contenders' figures in one cell."""

    name: str
    goal: float
    at_most: bool
    cell: Cell
    ours: str
    theirs: str
    of: Callable[[Sample], float]


_COMPARED: Final = (
    _Compared("CPU per MB, GET 64 MiB, against nginx", 1.0, True, BYTES_GET, "proxy", "nginx", front),
    _Compared("CPU per MB, PUT 64 MiB, against nginx", 1.0, True, BYTES_PUT, "proxy", "nginx", front),
    _Compared("throughput, GET 64 MiB, against the store", 0.60, False, BYTES_GET, _EVERY, _STORE, rate),
    _Compared("CPU per GET of 4 KiB against nginx", 3.0, True, CPU_GET, "proxy", "nginx", front),
    _Compared("CPU per PUT of 4 KiB against nginx", 4.0, True, CPU_PUT, "proxy", "nginx", front),
    _Compared("GETs of 4 KiB per second against the store", 0.65, False, RATE_GET, _EVERY, _STORE, rate),
    _Compared("PUTs of 4 KiB per second against the store", 0.75, False, RATE_PUT, _EVERY, _STORE, rate),
    _Compared("GETs of 4 KiB per second against SeaweedFS's SSE-KMS", 1.0, False, RATE_GET, _EVERY, _OWN, rate),
    _Compared("PUTs of 4 KiB per second against SeaweedFS's SSE-KMS", 1.0, False, RATE_PUT, _EVERY, _OWN, rate),
    _Compared("64 KiB ranges per second against SeaweedFS's SSE-KMS", 2.5, False, RATE_RANGE, _EVERY, _OWN, rate),
    _Compared("time of a listing of 1,000 against the store", 1.3, True, LISTING, "proxy", _STORE, latency),
)


def goals(results: Results, extra: Extra) -> list[Goal]:
    """Every goal, in the order of the table."""
    peak = None if extra.peak is None else extra.peak / MIB
    return [
        Goal("sealing against AESGCM.encrypt_into", 0.90, False, extra.seal),
        Goal("opening against AESGCM.encrypt_into", 0.90, False, extra.open),
        *(_compared(results, row) for row in _COMPARED),
        Goal("range of 64 KiB: requests to the store", 1.0, True, extra.range_requests),
        Goal("range of 64 KiB: bytes read by bytes asked for", 3.0, True, extra.range_bytes),
        Goal("peak of a worker with 32 transfers of 1 GiB, MiB", 150.0, True, peak),
        _growth(results, "CPU per MB, GET 1 GiB against 8 MiB", *GROWTH[:2]),
        _growth(results, "CPU per MB, PUT 1 GiB against 8 MiB", *GROWTH[2:]),
    ]


def _compared(results: Results, row: _Compared) -> Goal:
    return Goal(row.name, row.goal, row.at_most, _median(ratios(results, row.cell, row.ours, row.theirs, row.of)))


def _growth(results: Results, name: str, small: Cell, huge: Cell) -> Goal:
    per_byte = [
        [front(sample) / cell.operation.size for sample in results[cell.name, "proxy"].samples]
        if (cell.name, "proxy") in results
        else []
        for cell in (small, huge)
    ]
    return Goal(name, 1.05, True, _median([last / first for first, last in zip(*per_byte, strict=False)]))


def _median(found: Sequence[float]) -> float | None:
    return statistics.median(found) if found else None
