"""The short form of ``tests/soak/test_kills.py``."""

from pathlib import Path

from tests.e2e.kills import check, hammer
from tests.e2e.stores import Endpoints, Serve

KILLS = 6


def test_what_was_acknowledged_survives_sigkill(endpoints: Endpoints, store_name: str, tmp_path: Path) -> None:
    proxy = Serve(tmp_path / "proxy", endpoints.get(store_name).store, workers=2)
    try:
        endpoint, bucket, ledger = hammer(proxy, KILLS)
        assert ledger.successes > 10 * KILLS
        assert ledger.failures > 0
        assert ledger.keys
        check(endpoint, bucket, ledger)
    finally:
        proxy.close()
