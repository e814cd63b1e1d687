"""The access log: its lines, and when they are written."""

import asyncio
import logging
import re

import pytest

from proxy.server.access_log import AccessLog


async def test_lines_look_like_those_of_the_program_and_come_together() -> None:
    written: list[str] = []
    log = AccessLog(written.append, "worker-1", lambda: 1_700_000_000.0625)
    log.note("ID1", "GET", "/bucket/key%20", 200)
    log.note("ID2", "PUT", "/bucket/other", 499)
    assert written == []
    await asyncio.sleep(0.2)
    date = logging.Formatter("%(asctime)s").format(logging.makeLogRecord({"created": 1_700_000_000, "msecs": 62}))
    assert written == [
        f"{date} worker-1 INFO proxy.access ID1 GET /bucket/key%20 200\n"
        f"{date} worker-1 INFO proxy.access ID2 PUT /bucket/other 499\n"
    ]
    log.note("ID3", "GET", "/", 403)
    log.flush()
    log.flush()
    assert len(written) == 2


async def test_writes_to_a_pipe_are_whole_lines_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    log = AccessLog(written.append, "w")
    for number in range(100):
        log.note(f"{number:016d}", "GET", f"/bucket/{'k' * 100}", 200)
    log.note("long", "GET", "/" + "k" * 5000, 200)
    log.flush()
    assert all(text.endswith("\n") for text in written)
    assert all(len(text) <= 4096 for text in written[:-1])
    assert len(written) < 10
    assert len(re.findall(r" 200\n", "".join(written))) == 101

    monkeypatch.setattr("proxy.server.access_log._MOST_WAITING", 3)
    written.clear()
    for number in range(4):
        log.note(str(number), "GET", "/", 200)
    assert len(written) == 1
