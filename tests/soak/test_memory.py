"""A body of 1 GiB up and down takes no more memory than one of 64 MiB."""

from pathlib import Path

from tests.e2e.memory import peak_after_round_trip
from tests.e2e.stores import Endpoints, Serve

SLACK = 8 * 1024
"""KiB."""


def test_memory_at_1_gib(endpoints: Endpoints, store_name: str, tmp_path: Path) -> None:
    peaks = {}
    for blocks in (64, 1024):
        proxy = Serve(tmp_path / f"proxy-{blocks}", endpoints.get(store_name).store)
        try:
            peaks[blocks] = peak_after_round_trip(proxy.start(), f"memory-{proxy.port}", blocks)
        finally:
            proxy.close()
    print(f"{store_name}: peak RSS {peaks[64]} KiB at 64 MiB, {peaks[1024]} KiB at 1 GiB")
    assert peaks[1024] <= peaks[64] + SLACK, peaks
