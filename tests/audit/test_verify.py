"""Tampering with an audit log in every way there is: each shows, as what it is and where."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.audit import files
from proxy.audit.log import AuditLog
from proxy.audit.verify import Fault, Finding, verify
from tests.fakes import FakeClock, FakeRandom

KEY = bytes(range(32))
COUNT = 30
"""Lines of worker-1: one at the start, 28 events, one at the end."""


async def write_log(directory: Path, name: str, count: int, *, key: bytes = KEY, file_size: int = 4096) -> None:
    log = AuditLog(directory, name, key, FakeClock(), FakeRandom(name), file_size=file_size)
    for number in range(count):
        log.record({"eventName": f"Event{number}", "eventTime": "2026-11-23T06:00:00Z", "padding": "x" * 300})
    await log.aclose()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that nobody has touched: worker-1 in two runs of 15 lines and files of their own, worker-2 in one."""
    import asyncio  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("whole")

    async def write() -> None:
        await write_log(directory, "worker-1", 13)
        await write_log(directory, "worker-1", 13)
        await write_log(directory, "worker-2", 3)

    asyncio.run(write())
    return directory


@pytest.fixture
def log(whole: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(whole, tmp_path / "audit"))


def found(directory: Path, key: bytes = KEY) -> list[Finding]:
    return verify(directory, key).findings


def summary(directory: Path, key: bytes = KEY) -> list[tuple[Fault, str, str]]:
    return [(finding.fault, finding.chain, finding.where) for finding in found(directory, key)]


def first(directory: Path) -> Path:
    return directory / "worker-1.000001.jsonl"


def second(directory: Path) -> Path:
    return directory / "worker-1.000002.jsonl"


def rewrite(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def remove_anchors(directory: Path) -> None:
    for path in directory.glob(f"{files.HEADS}*"):
        path.unlink()


def test_nothing_is_wrong(log: Path) -> None:
    assert found(log) == []
    assert verify(log, KEY).chains == {"worker-1": COUNT, "worker-2": 5}


def test_an_empty_directory(tmp_path: Path) -> None:
    report = verify(tmp_path, KEY)
    assert (report.findings, report.chains) == ([], {})


def test_an_altered_event(log: Path) -> None:
    text = first(log).read_text().replace('"eventName":"Event4"', '"eventName":"Event5"', 1)
    first(log).write_text(text)
    (finding,) = found(log)
    assert finding.fault is Fault.ALTERED
    assert str(finding) == "altered: worker-1: worker-1.000001.jsonl line 6: event 6 is not as it was written"


@pytest.mark.parametrize("member", ["number", "previous", "mac", "name"])
def test_an_altered_place_in_the_chain(log: Path, member: str) -> None:
    def change(lines: list[bytes]) -> list[bytes]:
        document = json.loads(lines[7])
        document["chain"][member] = {"number": 9, "name": "worker-2"}.get(member, "ab" * 32)
        return [*lines[:7], json.dumps(document, separators=(",", ":")).encode() + b"\n", *lines[8:]]

    rewrite(first(log), change)
    assert (Fault.ALTERED, "worker-1", "worker-1.000001.jsonl line 8") in summary(log)


def test_a_removed_event(log: Path) -> None:
    rewrite(first(log), lambda lines: [*lines[:4], *lines[5:]])
    (finding,) = found(log)
    assert finding.fault is Fault.REMOVED
    assert str(finding) == "removed: worker-1: worker-1.000001.jsonl line 5: event 5 is missing before this line"


def test_several_removed_events(log: Path) -> None:
    rewrite(first(log), lambda lines: [*lines[:4], *lines[7:9], *lines[11:]])
    texts = [finding.text for finding in found(log)]
    assert texts == ["events 5 to 7 are missing before this line", "events 10 to 11 are missing before this line"]


def test_the_first_events_removed(log: Path) -> None:
    rewrite(first(log), lambda lines: lines[3:])
    (finding,) = found(log)
    assert (finding.fault, finding.text) == (Fault.REMOVED, "events 1 to 3 are missing before this line")


def test_a_removed_file(log: Path) -> None:
    first(log).unlink()
    (finding,) = found(log)
    assert (finding.fault, finding.where) == (Fault.REMOVED, "worker-1.000002.jsonl line 1")
    assert finding.text == "events 1 to 15 are missing before this line"


def test_the_last_events_removed(log: Path) -> None:
    rewrite(second(log), lambda lines: lines[:-4])
    faults = found(log)
    assert [finding.fault for finding in faults] == [Fault.TRUNCATED, Fault.GAP]
    assert faults[0].text == "events 27 to 30 are missing at the end"


def test_the_last_file_removed(log: Path) -> None:
    second(log).unlink()
    (finding,) = found(log)
    assert str(finding) == "truncated: worker-1: events 16 to 30 are missing at the end"


def test_a_whole_chain_removed(log: Path) -> None:
    for path in log.glob("worker-2.*"):
        path.unlink()
    (finding,) = found(log)
    assert str(finding) == "truncated: worker-2: events 1 to 5 are missing at the end"


@pytest.mark.parametrize(("cut", "fault"), [(1, Fault.TRUNCATED), (50, Fault.TRUNCATED)])
def test_a_file_cut_within_its_last_line(log: Path, cut: int, fault: Fault) -> None:
    second(log).write_bytes(second(log).read_bytes()[:-cut])
    assert found(log)[0].fault is fault


def test_events_in_another_order(log: Path) -> None:
    rewrite(first(log), lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]])
    assert summary(log) == [(Fault.REORDERED, "worker-1", "worker-1.000001.jsonl line 5")]


def test_files_in_another_order(log: Path) -> None:
    first(log).rename(log / "x")
    second(log).rename(first(log))
    (log / "x").rename(second(log))
    faults = [finding.fault for finding in found(log)]
    assert faults.count(Fault.REORDERED) == 15
    assert Fault.REMOVED not in faults


def test_an_event_twice(log: Path) -> None:
    rewrite(first(log), lambda lines: [*lines[:5], lines[4], *lines[5:]])
    assert summary(log) == [(Fault.REPEATED, "worker-1", "worker-1.000001.jsonl line 6")]


def test_a_line_of_another_chain(log: Path) -> None:
    other = (log / "worker-2.000001.jsonl").read_bytes().splitlines(keepends=True)[1]
    rewrite(first(log), lambda lines: [*lines[:5], other, *lines[6:]])
    assert summary(log) == [(Fault.ALTERED, "worker-1", "worker-1.000001.jsonl line 6")]


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"garbage\n", b"\xff\x00\n", b'{"chain":{}}\n'])
def test_a_line_put_in(log: Path, line: bytes) -> None:
    rewrite(first(log), lambda lines: [*lines[:5], line, *lines[5:]])
    assert (Fault.ALTERED, "worker-1", "worker-1.000001.jsonl line 6") in summary(log)


async def test_an_event_of_another_history(log: Path, tmp_path: Path) -> None:
    """Whoever puts back an older state of everything, lets the log go on, and then mixes both: each line is genuine."""
    other = tmp_path / "other"
    await write_log(other, "worker-1", 13)
    same = first(other).read_bytes().splitlines(keepends=True)[7]
    rewrite(first(log), lambda lines: [*lines[:7], same, *lines[8:]])
    assert found(log) == []  # the same events at the same time under the same key are the same lines

    third = tmp_path / "third"
    await write_log(third, "worker-1", 12)
    rewrite(
        first(log),
        lambda lines: [*lines[:13], *first(third).read_bytes().splitlines(keepends=True)[13:14], *lines[14:]],
    )
    assert [finding.fault for finding in found(log) if finding.fault is not Fault.GAP] == [Fault.REPLACED]


# The anchors


def test_no_anchors(log: Path) -> None:
    remove_anchors(log)
    assert summary(log) == [(Fault.ANCHOR_MISSING, "all chains", files.HEADS)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE head SET number = number - 4 WHERE name = 'worker-1'",
        "UPDATE head SET mac = zeroblob(32) WHERE name = 'worker-2'",
        "DELETE FROM head WHERE name = 'worker-2'",
        "INSERT INTO head VALUES ('worker-3', 1, zeroblob(32))",
        "UPDATE seal SET mac = zeroblob(32)",
        "DELETE FROM seal",
    ],
)
def test_altered_anchors(log: Path, statement: str) -> None:
    connection = sqlite3.connect(log / files.HEADS)
    with connection:
        connection.execute(statement)
    connection.close()
    assert (Fault.ANCHORS_ALTERED, "all chains", files.HEADS) in summary(log)


def test_anchors_that_are_no_database(log: Path) -> None:
    (log / files.HEADS).write_bytes(b"garbage" * 1000)
    assert (Fault.ANCHORS_ALTERED, "all chains", files.HEADS) in summary(log)


def test_another_root_key(log: Path) -> None:
    faults = {fault for fault, _, _ in summary(log, b"x" * 32)}
    assert faults == {Fault.ANCHORS_ALTERED, Fault.ALTERED}


async def test_anchors_that_were_removed_before_a_start_go_on_to_show(log: Path) -> None:
    rewrite(second(log), lambda lines: lines[:-4])
    remove_anchors(log)
    await write_log(log, "worker-1", 1)
    faults = found(log)
    assert [finding.fault for finding in faults if finding.chain == "worker-1"] == [Fault.GAP, Fault.ANCHOR_MISSING]
    (told,) = [finding.text for finding in faults if finding.where == "worker-1.000003.jsonl line 1"][1:]
    assert told == "the anchors were missing when this run began; what was cut off before does not show"


async def test_anchors_that_were_altered_before_a_start_go_on_to_show(log: Path) -> None:
    connection = sqlite3.connect(log / files.HEADS)
    with connection:
        connection.execute("UPDATE head SET number = number - 4 WHERE name = 'worker-2'")
    connection.close()
    await write_log(log, "worker-1", 1)
    assert (Fault.ANCHORS_ALTERED, "all chains", files.HEADS) in summary(log)


async def test_a_log_goes_on_after_its_anchor_when_its_end_was_removed(log: Path) -> None:
    rewrite(second(log), lambda lines: lines[:-4])
    await write_log(log, "worker-1", 1)
    faults = found(log)
    assert [finding.fault for finding in faults] == [Fault.GAP, Fault.REMOVED]
    assert faults[1].text == "events 27 to 30 are missing before this line"


# Anything at all


def _bytes(draw: Any, path: Path) -> bytes:
    raw = bytearray(path.read_bytes())
    position = draw(st.integers(0, len(raw) - 1))
    kind = draw(st.sampled_from(["flip", "cut", "insert", "truncate"]))
    if kind == "flip":
        raw[position] ^= 1 << draw(st.integers(0, 7))
    elif kind == "cut":
        del raw[position : position + draw(st.integers(1, 500))]
    elif kind == "insert":
        raw[position:position] = draw(st.binary(min_size=1, max_size=10))
    else:
        del raw[position:]
    return bytes(raw)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.data())
def test_no_change_of_any_file_of_events_goes_unseen(log: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([first(log), second(log), log / "worker-2.000001.jsonl"]))
    before = path.read_bytes()
    changed = _bytes(data.draw, path)
    path.write_bytes(changed)
    try:
        # White space at the end of the last line that has none of the log's meaning is cut off in reading.
        assert changed == before or found(log) != []
    finally:
        path.write_bytes(before)
