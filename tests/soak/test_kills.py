"""100 SIGKILLs of the proxy at random moments, under 8 writers that put objects and make keys."""

from pathlib import Path

from tests.e2e.kills import check, hammer
from tests.e2e.stores import Endpoints, Serve

KILLS = 100


def test_what_was_acknowledged_survives_100_sigkills(endpoints: Endpoints, store_name: str, tmp_path: Path) -> None:
    proxy = Serve(tmp_path / "proxy", endpoints.get(store_name).store, workers=2)
    try:
        endpoint, bucket, ledger = hammer(proxy, KILLS)
        assert ledger.failures > 0
        print(f"{store_name}: {ledger.successes} acknowledged, {ledger.failures} cut, {len(ledger.keys)} keys")
        check(endpoint, bucket, ledger)
    finally:
        proxy.close()
