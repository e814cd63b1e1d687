"""What is measured by itself: memory under many large transfers, and what a range asks of the store."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.bench.clocks import peak_bytes, reset_peak
from tests.bench.contenders import Contender, nginx, proxies
from tests.bench.load import Load, play
from tests.bench.operations import GIB, MIB, RANGE, key_of
from tests.e2e.stores import Store

_TRANSFERS: Final = 32


def peak_of_transfers(contender: Contender, seconds: float | None) -> int:
    """The peak of a worker's memory in bytes while 32 transfers of 1 GiB are under way, half of them up, half down;
    after ``seconds`` they are cut off where they are. Raises LoadFailed."""
    assert contender.front is not None
    account = contender.account
    reset_peak(contender.front())
    requests = []
    for number in range(_TRANSFERS // 2):
        requests += [account.get(key_of(GIB, 0)), account.put(f"put-huge-{number}", GIB, "trailer")]
    play(Load(account.port, requests, _TRANSFERS, _TRANSFERS, seconds=seconds))
    return peak_bytes(contender.front())


def cost_of_ranges(folder: Path, store: Store) -> tuple[float, float]:
    """Requests to the store for each range of 64 KiB of 64 MiB, and bytes read there for each byte asked for: counted
    by an nginx between a proxy of its own and the store."""
    with nginx(folder / "counting", store.url, large=False, access_log=True) as (port, _):
        counted = replace(store, url=f"http://127.0.0.1:{port}")
        with proxies(folder / "proxy", counted, [], "bench-ranges") as (contender, *_):
            return _counted(contender, folder / "counting" / "access.log")


def _counted(contender: Contender, log: Path) -> tuple[float, float]:
    account, count = contender.account, 16
    play(Load(account.port, [account.put(key_of(64 * MIB, n), 64 * MIB, "unsigned") for n in range(4)], 4, 4))
    before = len(log.read_text(encoding="ascii").splitlines())
    requests = [account.get(key_of(64 * MIB, n % 4), {"Range": _range(n)}) for n in range(count)]
    play(Load(account.port, requests, count, 1, 206, RANGE))
    time.sleep(0.2)
    lines = [line.split() for line in log.read_text(encoding="ascii").splitlines()[before:]]
    return len(lines) / count, sum(int(line[2]) for line in lines) / (count * RANGE)


def _range(number: int) -> str:
    first = number * 3_999_971
    return f"bytes={first}-{first + RANGE - 1}"
