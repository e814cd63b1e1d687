"""Threads beside the event loop."""

import asyncio
import threading

import pytest

from proxy.kms.errors import KmsError
from proxy.kms.threads import Threads


async def test_results_and_errors_come_back() -> None:
    threads = Threads(1)
    assert await threads.run(lambda: threading.current_thread().name.startswith("kms"))
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 / 0)
    threads.close()


async def test_work_past_the_bound_is_refused_until_some_is_done() -> None:
    threads, gate = Threads(1, max_waiting=1), threading.Event()
    running = [asyncio.create_task(threads.run(gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(KmsError, match="ThrottlingException"):
        await threads.run(gate.wait)
    gate.set()
    assert await asyncio.gather(*running) == [True, True]
    assert await threads.run(lambda: 1) == 1
    threads.close()


async def test_work_of_a_caller_that_went_away_still_counts() -> None:
    threads, gate = Threads(1, max_waiting=0), threading.Event()
    running = asyncio.create_task(threads.run(gate.wait))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(KmsError, match="ThrottlingException"):
        await threads.run(gate.wait)
    gate.set()
    while True:
        try:
            assert await threads.run(lambda: 1) == 1
        except KmsError:
            await asyncio.to_thread(gate.wait)
        else:
            break
    threads.close()
