"""Backups: whole, consistent, sealed; and what is refused on the way back."""

import asyncio
import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.kms import backup
from proxy.kms.backup import BackupRefused, Manifest
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.store import Record
from proxy.kms.stores import lock
from proxy.kms.stores.lock import StoreInUse
from proxy.kms.stores.sqlite import SqliteKeyStore
from tests.fakes import FakeRandom

RANDOM = FakeRandom("backups")
ROOT_KEY, OTHER = LocalRootKey(RANDOM(32), RANDOM), LocalRootKey(RANDOM(32), RANDOM)
NOW = datetime(2026, 11, 23, 7, 31, tzinfo=UTC)


def make_database(path: Path, rows: int = 10) -> Path:
    """A database in WAL mode, with some of it in the log alone."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE item (number INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany("INSERT INTO item VALUES (?, ?)", [(number, "x" * 500) for number in range(rows)])
        connection.commit()
    return path


def rows(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM item ORDER BY number")]


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def write(destination: Path, databases: dict[str, Path]) -> Manifest:
    return await backup.write(destination, databases, ROOT_KEY, NOW, RANDOM)


@pytest.fixture
def databases(tmp_path: Path) -> dict[str, Path]:
    return {name: make_database(tmp_path / name, count) for name, count in (("state.db", 3), ("keys.db", 200))}


def outputs(folder: Path, names: dict[str, Path]) -> dict[str, Path]:
    return {name: folder / f"out-{name}" for name in names}


async def test_what_was_backed_up_comes_back(tmp_path: Path, databases: dict[str, Path]) -> None:
    archive = tmp_path / "backup"
    made = await write(archive, databases)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert listing(tmp_path) == ["backup", "keys.db", "state.db"]
    assert (made.created, made.root_key) == (NOW, ROOT_KEY.id)

    taken = outputs(tmp_path, databases)
    manifest = backup.read(archive, taken)
    assert manifest == made
    await backup.check_seal(manifest, ROOT_KEY.unwrap)
    for name, path in taken.items():
        assert rows(path) == rows(databases[name])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.with_name(path.name + "-wal").exists()


async def test_a_backup_is_a_tar_archive_that_others_can_read(tmp_path: Path, databases: dict[str, Path]) -> None:
    archive = tmp_path / "backup"
    await write(archive, databases)
    with tarfile.open(archive) as opened:
        assert opened.getnames() == ["state.db", "keys.db", "manifest.json", "manifest.seal"]
        assert {member.mode for member in opened} == {0o600}
        content = opened.extractfile("manifest.json")
        assert content is not None
        document = json.load(content)
    assert document["format"] == "sse-kms-proxy backup"
    assert document["created"] == "2026-11-23T07:31:00+00:00"


async def test_nothing_is_overwritten(tmp_path: Path, databases: dict[str, Path]) -> None:
    archive = tmp_path / "backup"
    archive.write_text("precious")
    with pytest.raises(BackupRefused, match="overwrites nothing"):
        await write(archive, databases)
    assert archive.read_text() == "precious"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BackupRefused, match="overwrites nothing"):
        await write(link, databases)
    assert not (tmp_path / "nowhere").exists()


async def test_a_backup_that_fails_leaves_nothing(tmp_path: Path, databases: dict[str, Path]) -> None:
    before = listing(tmp_path)
    with pytest.raises(BackupRefused, match=r"missing\.db is missing"):
        await write(tmp_path / "backup", {**databases, "missing.db": tmp_path / "missing.db"})
    (tmp_path / "spoilt.db").write_bytes(b"no database" * 1000)
    with pytest.raises(BackupRefused, match=r"spoilt\.db cannot be read"):
        await write(tmp_path / "backup", {**databases, "spoilt.db": tmp_path / "spoilt.db"})
    (tmp_path / "spoilt.db").unlink()
    with pytest.raises(BackupRefused, match="cannot be written"):
        await write(tmp_path / "no such folder" / "backup", databases)
    assert listing(tmp_path) == before


async def test_a_damaged_database_is_not_backed_up(tmp_path: Path, databases: dict[str, Path]) -> None:
    content = bytearray(databases["keys.db"].read_bytes())
    content[4096 * 3 : 4096 * 3 + 200] = os.urandom(200)
    databases["keys.db"].write_bytes(content)
    with pytest.raises(BackupRefused, match=r"keys\.db (is damaged|cannot be read)"):
        await write(tmp_path / "backup", databases)


async def test_a_copy_is_of_one_moment_while_others_write(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    store = SqliteKeyStore(path)
    pair = [Record("key", name, 0, b"0") for name in ("a", "b")]
    await store.write(pair)
    ended = threading.Event()
    counted = 0

    def count() -> None:
        nonlocal counted

        async def run() -> None:
            nonlocal counted
            writing = SqliteKeyStore(path)
            while not ended.is_set():
                there = [await writing.get("key", name) for name in ("a", "b")]
                counted += 1
                body = b"%d" % counted + b"x" * 20_000
                await writing.write([Record("key", each.id, each.version, body) for each in there if each])
            await writing.aclose()

        asyncio.run(run())

    thread = threading.Thread(target=count)
    thread.start()
    seen = []
    try:
        for number in range(8):
            while counted < (number + 1) * 3:  # noqa: ASYNC110 - another thread counts
                await asyncio.sleep(0.002)
            await write(tmp_path / f"backup{number}", {"keys.db": path})
            taken = tmp_path / f"taken{number}"
            backup.read(tmp_path / f"backup{number}", {"keys.db": taken})
            with closing(sqlite3.connect(taken)) as connection:
                bodies = {body for (body,) in connection.execute("SELECT body FROM record")}
            assert len(bodies) == 1
            seen.append(int(bodies.pop().partition(b"x")[0]))
    finally:
        ended.set()
        thread.join()
        await store.aclose()
    assert seen == sorted(set(seen))


async def test_every_changed_byte_shows(tmp_path: Path, databases: dict[str, Path]) -> None:
    archive = tmp_path / "backup"
    await write(archive, databases)
    content = archive.read_bytes()
    with tarfile.open(archive) as opened:
        members = [(member.offset_data, member.size) for member in opened]
    for offset, size in members:
        for position in {offset, offset + size // 2, offset + size - 1}:
            changed = bytearray(content)
            changed[position] ^= 1
            spoilt = tmp_path / "spoilt"
            spoilt.write_bytes(changed)
            taken = outputs(tmp_path, databases)
            with pytest.raises(BackupRefused):
                await backup.check_seal(backup.read(spoilt, taken), ROOT_KEY.unwrap)
            for path in taken.values():
                backup.remove(path)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.95])
async def test_a_backup_that_was_cut_short(tmp_path: Path, databases: dict[str, Path], part: float) -> None:
    archive = tmp_path / "backup"
    await write(archive, databases)
    os.truncate(archive, int(archive.stat().st_size * part))
    with pytest.raises(BackupRefused, match="is no backup, or is damaged"):
        backup.read(archive, outputs(tmp_path, databases))


def rewritten(archive: Path, databases: dict[str, Path], seal: bytes) -> None:
    """Another archive in its place, whose manifest fits what it holds."""
    files = {
        name: {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for name, path in databases.items()
    }
    document = {"format": "sse-kms-proxy backup", "version": 1, "created": NOW.isoformat(), "root_key": ROOT_KEY.id}
    texts = {"manifest.json": json.dumps({**document, "files": files}).encode(), "manifest.seal": seal}
    with tarfile.open(archive, "w") as opened:
        for name, path in databases.items():
            opened.add(path, name)
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            opened.addfile(member, io.BytesIO(text))


async def test_who_has_no_root_key_makes_no_backup(tmp_path: Path, databases: dict[str, Path]) -> None:
    archive = tmp_path / "backup"
    seal = (await write(archive, databases)).seal
    make_database(tmp_path / "evil.db", 5)
    evil = {"state.db": databases["state.db"], "keys.db": tmp_path / "evil.db"}
    for number, forged in enumerate((seal, b"", await OTHER.wrap(b"x" * 32, b"backup manifest v1"))):
        rewritten(archive, evil, forged)
        taken = {name: tmp_path / f"{number}-{name}" for name in evil}
        manifest = backup.read(archive, taken)
        with pytest.raises(BackupRefused, match="its seal does not fit"):
            await backup.check_seal(manifest, ROOT_KEY.unwrap)


async def test_another_root_key_is_not_the_one(tmp_path: Path, databases: dict[str, Path]) -> None:
    manifest = await write(tmp_path / "backup", databases)
    with pytest.raises(BackupRefused, match="its seal does not fit"):
        await backup.check_seal(manifest, OTHER.unwrap)


async def test_other_archives_are_none(tmp_path: Path, databases: dict[str, Path]) -> None:
    archive = tmp_path / "archive"
    taken = outputs(tmp_path, databases)
    for content in (b"", b"hello", bytes(10240)):
        archive.write_bytes(content)
        with pytest.raises(BackupRefused, match="is no backup, or is damaged"):
            backup.read(archive, taken)
    with pytest.raises(BackupRefused, match="No such file"):
        backup.read(tmp_path / "missing", taken)
    await write(tmp_path / "other", {"other.db": make_database(tmp_path / "other.db")})
    with pytest.raises(BackupRefused, match=r"holds other\.db, not state\.db, keys\.db"):
        backup.read(tmp_path / "other", taken)
    with tarfile.open(archive, "w") as opened:
        link = tarfile.TarInfo("manifest.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
    with pytest.raises(BackupRefused):
        backup.read(archive, taken)
    assert not any(path.exists() for path in taken.values())


def test_a_database_without_rows_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    assert backup.is_empty(path)
    path.touch()
    assert backup.is_empty(path)
    path.unlink()
    make_database(path, 0)
    assert backup.is_empty(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO item VALUES (1, '')")
        connection.commit()
    assert not backup.is_empty(path)
    path.write_bytes(b"something else, which is not to be lost")
    assert not backup.is_empty(path)
    path.unlink()
    path.with_name("keys.db-wal").write_bytes(b"a log without its database")
    assert not backup.is_empty(path)


def test_what_is_there_moves_aside_with_its_log(tmp_path: Path) -> None:
    place, new = tmp_path / "keys.db", tmp_path / "new"
    make_database(place, 5)
    with closing(sqlite3.connect(place)) as kept_open:
        kept_open.execute("INSERT INTO item VALUES (77, '')")
        kept_open.commit()
        log = place.with_name("keys.db-wal")
        assert log.stat().st_size
        make_database(new, 9)
        moved = backup.put_in_place({place: new}, ".aside")
    assert moved == [tmp_path / "keys.db.aside"]
    assert rows(place) == list(range(9))
    assert rows(moved[0]) == [0, 1, 2, 3, 4, 77]
    assert not new.exists()
    assert backup.put_in_place({tmp_path / "free.db": make_database(new, 2)}, ".aside") == []
    assert rows(tmp_path / "free.db") == [0, 1]


def test_many_use_a_store_or_one_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    refused = pytest.raises(StoreInUse, match="stop what serves it first")
    with lock.in_use(path), lock.in_use(path), refused, lock.to_be_replaced(path):
        pass
    with lock.to_be_replaced(path):
        with pytest.raises(StoreInUse, match="is being restored"), lock.in_use(path):
            pass
        with pytest.raises(StoreInUse), lock.to_be_replaced(path):
            pass
    with lock.to_be_replaced(path):
        pass
    assert stat.S_IMODE((tmp_path / "keys.db.lock").stat().st_mode) == 0o600
