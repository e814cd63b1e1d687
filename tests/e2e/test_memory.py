"""The short form of ``tests/soak/test_memory.py``."""

from pathlib import Path

from tests.e2e.memory import peak_after_round_trip
from tests.e2e.stores import Endpoints, Serve

SLACK = 8 * 1024


def test_memory_does_not_grow_with_the_body(endpoints: Endpoints, store_name: str, tmp_path: Path) -> None:
    peaks = []
    for blocks in (16, 96):
        proxy = Serve(tmp_path / f"proxy-{blocks}", endpoints.get(store_name).store)
        try:
            peaks.append(peak_after_round_trip(proxy.start(), f"memory-{proxy.port}", blocks))
        finally:
            proxy.close()
    assert peaks[1] <= peaks[0] + SLACK, peaks
