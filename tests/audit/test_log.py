"""The audit log: what is recorded is in the files, anchored, through rotation, restarts and faults of the disk."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.audit import files
from proxy.audit.chain import BEGINNING, Place, chain_key, read
from proxy.audit.heads import Heads
from proxy.audit.log import CLOSED, FAILED, OPENED, AuditLog
from proxy.audit.verify import Fault, Report, verify
from proxy.kms.audit import AuditUnavailable
from tests.fakes import FakeClock, FakeRandom

KEY = bytes(range(32))
NAME = "worker-1"

Open = Callable[..., AuditLog]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens logs in one directory; those that the test leaves open are closed."""
    logs: list[AuditLog] = []

    def open_log(name: str = NAME, **settings: Any) -> AuditLog:
        log = AuditLog(tmp_path, name, KEY, FakeClock(), FakeRandom(name), **settings)
        logs.append(log)
        return log

    yield open_log
    for log in logs:
        if log._writer.is_alive():
            await log.aclose()


def event(number: int) -> dict[str, Any]:
    return {"eventName": f"Event{number}", "eventTime": "2026-11-23T06:00:00Z", "n": number}


def events(directory: Path, name: str = NAME) -> list[str]:
    """The names of all events in the files of a chain."""
    paths = files.chains(directory).get(name, [])
    return [json.loads(text)["eventName"] for path in paths for _, text, _ in files.lines(path)]


def checked(directory: Path) -> Report:
    return verify(directory, KEY)


def faults(directory: Path) -> list[Fault]:
    return [finding.fault for finding in checked(directory).findings]


def anchored(directory: Path) -> int:
    heads = Heads(directory / files.HEADS, KEY)
    try:
        return heads.read().heads.get(NAME, BEGINNING).number
    finally:
        heads.close()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_events_are_in_the_file_in_their_order(opened: Open, tmp_path: Path) -> None:
    log = opened()
    for number in range(1000):
        log.record(event(number))
        if number % 100 == 0:
            await asyncio.sleep(0.002)
    await log.aclose()
    assert events(tmp_path) == [OPENED, *(f"Event{number}" for number in range(1000)), CLOSED]
    report = checked(tmp_path)
    assert report.findings == []
    assert report.chains == {NAME: 1002}


async def test_events_may_be_made_when_they_are_written(
    opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened()
    log.record(lambda: event(1))
    log.record(lambda: {"eventName": 1 / int("0")})
    log.record(event(2))
    await log.aclose()
    assert events(tmp_path) == [OPENED, "Event1", FAILED, "Event2", CLOSED]
    assert "could not be made" in caplog.text
    assert faults(tmp_path) == []


async def test_lines_are_json_with_their_place_in_the_chain(opened: Open, tmp_path: Path) -> None:
    log = opened()
    log.record({"eventName": "Ünïcode\n", "nested": {"chain": {"name": "x"}}, "empty": None})
    await log.aclose()
    (path,) = files.chains(tmp_path)[NAME]
    assert path.name == "worker-1.000001.jsonl"
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    lines = path.read_bytes().splitlines()
    document = json.loads(lines[1])
    assert document["eventName"] == "Ünïcode\n"
    assert document["chain"]["number"] == 2
    assert document["chain"]["previous"] == json.loads(lines[0])["chain"]["mac"]
    found = read(lines[1], NAME, chain_key(KEY, NAME))
    assert found is not None
    assert found.is_genuine
    assert found.event["nested"] == {"chain": {"name": "x"}}


async def test_events_reach_the_file_soon_and_the_anchor_within_a_second(opened: Open, tmp_path: Path) -> None:
    log = opened()
    await until(lambda: anchored(tmp_path) == 1)
    log.record(event(1))
    began = time.monotonic()
    await until(lambda: "Event1" in events(tmp_path))
    assert time.monotonic() - began < 0.5
    await until(lambda: anchored(tmp_path) == 2)
    assert time.monotonic() - began < 1.5
    assert faults(tmp_path) == []


async def test_write_through_waits_for_the_disk(opened: Open, tmp_path: Path) -> None:
    log = opened(write_through=True)
    for number in range(20):
        log.record(event(number))
        await log.settle()
        assert events(tmp_path)[-1] == f"Event{number}"
    log.record(event(20))
    log.record(event(21))
    await asyncio.gather(log.settle(), log.settle())
    assert events(tmp_path)[-2:] == ["Event20", "Event21"]
    await log.settle()


async def test_without_write_through_nothing_waits(opened: Open) -> None:
    log = opened()
    log.record(event(1))
    began = time.monotonic()
    await log.settle()
    assert time.monotonic() - began < 0.02


async def test_a_file_is_followed_by_the_next(opened: Open, tmp_path: Path) -> None:
    log = opened(file_size=4096)
    for number in range(200):
        log.record(event(number))
        if number % 10 == 0:
            await until(lambda: log._written >= log._recorded)
    await log.aclose()
    sizes = [path.stat().st_size for path in files.chains(tmp_path)[NAME]]
    assert len(sizes) > 5
    assert all(4096 <= size < 16_384 for size in sizes[:-1])
    assert len(events(tmp_path)) == 202
    assert faults(tmp_path) == []


async def test_a_chain_goes_on_in_the_next_run(opened: Open, tmp_path: Path) -> None:
    for number in range(3):
        log = opened()
        log.record(event(number))
        await log.aclose()
    assert events(tmp_path) == [name for n in range(3) for name in (OPENED, f"Event{n}", CLOSED)]
    assert len(files.chains(tmp_path)[NAME]) == 3
    assert faults(tmp_path) == []


async def test_chains_of_several_workers_share_the_anchors(opened: Open, tmp_path: Path) -> None:
    logs = [opened(f"worker-{number}") for number in (1, 2, 3)]
    for log in logs:
        log.record(event(1))
    await asyncio.gather(*(log.aclose() for log in logs))
    report = checked(tmp_path)
    assert report.findings == []
    assert report.chains == {"worker-1": 3, "worker-2": 3, "worker-3": 3}


async def test_a_chain_has_one_writer(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.audit.log._LOCK_SECONDS", 0.1)
    opened()
    with pytest.raises(AuditUnavailable, match="in use by another process"):
        opened()


async def test_a_log_in_use_has_no_gap(opened: Open, tmp_path: Path) -> None:
    log = opened()
    log.record(event(1))
    await until(lambda: "Event1" in events(tmp_path))
    assert faults(tmp_path) == []


# SIGKILL is tried end to end; here a run ends without its last word


def kill(log: AuditLog) -> None:
    """Leaves the log as a process that is killed leaves it."""
    os.close(log._lock)
    log._heads.close()
    log._writer.join = lambda *_: None  # type: ignore[method-assign]


class Frozen(AuditLog):
    """A log whose thread never writes."""

    def _run(self, written: Place) -> None:
        return


async def test_what_was_not_written_shows_as_a_gap(opened: Open, tmp_path: Path) -> None:
    log = opened()
    log.record(event(1))
    await log.aclose()
    frozen = Frozen(tmp_path, NAME, KEY, FakeClock(), FakeRandom("f"))
    frozen.record(event(2))
    kill(frozen)
    assert faults(tmp_path) == []  # nothing of that run has come to the disk, not even that it began

    log = opened()
    log.record(event(3))
    await until(lambda: "Event3" in events(tmp_path))
    directory = files.chains(tmp_path)[NAME]
    os.close(log._lock)
    log._lock = os.open(os.devnull, os.O_RDONLY)
    findings = checked(tmp_path).findings
    assert [finding.fault for finding in findings] == [Fault.GAP]
    assert "ended by force after event 5" in str(findings[0])
    assert "has not been started again" in str(findings[0])
    assert len(directory) == 2


@pytest.mark.parametrize("torn", [1, 100, -1])
async def test_a_line_that_was_cut_short_is_a_gap(opened: Open, tmp_path: Path, torn: int) -> None:
    log = opened()
    log.record(event(1))
    await log.aclose()
    (path,) = files.chains(tmp_path)[NAME]
    raw = path.read_bytes()
    lines = raw.splitlines(keepends=True)
    # As if the run had been killed within its last write.
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:torn])
    heads = log_heads(tmp_path)
    heads.anchor(NAME, place_of(lines[1]))
    heads.close()

    again = opened()
    again.record(event(2))
    await again.aclose()
    report = checked(tmp_path)
    assert [finding.fault for finding in report.findings] == [Fault.GAP]
    assert "the next run began at 2026-11-23T06:00:00Z" in str(report.findings[0])
    assert not report.is_tampered


def log_heads(directory: Path) -> Any:
    from proxy.audit.heads import Heads  # noqa: PLC0415

    return Heads(directory / files.HEADS, KEY)


def place_of(line: bytes) -> Any:
    found = read(line.rstrip(b"\n"), NAME, chain_key(KEY, NAME))
    assert found is not None
    return found.place


# Faults of the disk


async def test_what_cannot_be_written_is_written_later(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("proxy.audit.log._RETRY_SECONDS", 0.02)
    log = opened()
    await until(lambda: log._written == 1)
    broken = True
    failures = 0
    whole = os.write

    def write(descriptor: int, data: bytes) -> int:
        nonlocal failures
        if broken and descriptor == log._file:
            failures += 1
            whole(descriptor, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return whole(descriptor, data)

    monkeypatch.setattr("proxy.audit.log.os.write", write)
    for number in range(5):
        log.record(event(number))
        await asyncio.sleep(0.06)
    await until(lambda: log._failure is not None and failures > 3)
    assert "No space left" in caplog.text
    await log.settle()
    broken = False
    await until(lambda: log._failure is None)
    await log.aclose()
    assert events(tmp_path) == [OPENED, *(f"Event{number}" for number in range(5)), CLOSED]
    assert faults(tmp_path) == []


async def test_a_full_disk_fails_what_has_to_be_written_through(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(write_through=True)
    await until(lambda: log._written == 1)
    broken = True
    whole = os.write

    def write(descriptor: int, data: bytes) -> int:
        if broken and descriptor == log._file:
            raise OSError(28, "No space left on device")
        return whole(descriptor, data)

    monkeypatch.setattr("proxy.audit.log.os.write", write)
    log.record(event(1))
    with pytest.raises(AuditUnavailable, match="No space left"):
        await log.settle()
    broken = False
    log.record(event(2))
    await log.settle()
    assert events(tmp_path) == [OPENED, "Event1", "Event2"]


async def test_events_do_not_pile_up_without_end(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.audit.log._MOST_WAITING", 10)
    log = opened()
    await until(lambda: log._written == 1)
    broken = True
    whole = os.write

    def write(descriptor: int, data: bytes) -> int:
        if broken and descriptor == log._file:
            raise OSError(28, "No space left on device")
        return whole(descriptor, data)

    monkeypatch.setattr("proxy.audit.log.os.write", write)
    log.record(event(0))
    await until(lambda: log._failure is not None)
    for number in range(12):
        log.record(event(number))
    with pytest.raises(AuditUnavailable):
        await log.settle()
    broken = False
    await until(lambda: log._failure is None)
    await log.settle()


async def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(AuditUnavailable, match="cannot be used"):
        AuditLog(tmp_path / "file", NAME, KEY, FakeClock(), FakeRandom())
