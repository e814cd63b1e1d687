"""What processes have used: CPU time and memory, as the kernel counts it."""

import re
import time
from collections.abc import Iterable
from pathlib import Path


def cpu_seconds(*pids: int) -> float:
    """User and system time of whole processes, all their threads, those that have ended included.

    It is what ``/proc/PID/stat`` shows in hundredths of a second, read from the process's CPU clock (Linux,
    clock_getcpuclockid(3)) in nanoseconds.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def reset_peak(pids: Iterable[int]) -> None:
    """Begins a new peak of resident memory (proc(5), ``clear_refs``)."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_bytes(pids: Iterable[int]) -> int:
    """The greatest peak of resident memory among processes."""
    return max((_peak(pid) for pid in pids), default=0)


def _peak(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0
