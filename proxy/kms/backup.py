"""Backups of the key store and what belongs with it: one file, whole in itself, which opens with the root key alone.

A backup is a tar archive of a consistent copy of each database, a manifest, and the manifest's seal::

    state.db, keys.db     SQLite databases; the key material in them stays sealed under the root key
    manifest.json         format, time, the root key's id, and each file's size and SHA-256
    manifest.seal         the SHA-256 of manifest.json, wrapped under the root key

The seal makes a change of anything that is restored show. It does not tell the newest backup from older ones. The
databases are copied one after the other, in the order in which they were given, each as it was at one moment: what
refers to another has to come first.
Source: https://www.sqlite.org/backup.html
"""

import hashlib
import hmac
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from proxy.durable import sync_directory, sync_file
from proxy.kms.errors import WrongRootKey
from proxy.kms.root_key import RootKey

_FORMAT: Final = "sse-kms-proxy backup"
_VERSION: Final = 1
_MANIFEST: Final = "manifest.json"
_SEAL: Final = "manifest.seal"
_SEAL_LABEL: Final = b"backup manifest v1"
_MOST_MANIFEST: Final = 64 * 1024
_CHUNK: Final = 1024 * 1024
_BUSY_SECONDS: Final = 30.0
_BESIDE: Final = ("", "-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, and the database itself."""


class BackupRefused(Exception):
    """A backup could not be made or restored; nothing was changed. The text says why, in a line."""


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself; worth nothing before ``check_seal``."""

    created: datetime
    root_key: str
    """The id of the root key that sealed it."""
    files: Mapping[str, tuple[int, str]]
    """Size and SHA-256 (hexadecimal) by name."""
    text: bytes
    seal: bytes


async def write(
    destination: Path, databases: Mapping[str, Path], root_key: RootKey, now: datetime, random: Callable[[int], bytes]
) -> Manifest:
    """Writes a backup to a file that is not there yet; it appears whole, with mode 0600, or not at all.

    Raises:
        BackupRefused: a database is missing or damaged, the file is there already or cannot be written.
    """
    _refuse_existing(destination)
    suffix = f"{os.getpid()}.{random(4).hex()}"
    with ExitStack() as cleanup:
        copies: dict[str, Path] = {}
        for name, database in databases.items():
            copies[name] = destination.with_name(f".{destination.name}.{name}.{suffix}")
            cleanup.callback(copies[name].unlink, missing_ok=True)
            _copy_database(database, copies[name])
        files = {name: (copy.stat().st_size, _sha256(copy)) for name, copy in copies.items()}
        text = _manifest_text(now, root_key.id, files)
        seal = await root_key.wrap(hashlib.sha256(text).digest(), _SEAL_LABEL)
        archive = destination.with_name(f".{destination.name}.{suffix}")
        cleanup.callback(archive.unlink, missing_ok=True)
        try:
            _write_archive(archive, copies, {_MANIFEST: text, _SEAL: seal}, now)
            os.link(archive, destination)
            sync_directory(destination.parent)
        except FileExistsError:
            raise BackupRefused(f"{destination} is there already; a backup overwrites nothing") from None
        except OSError as error:
            raise BackupRefused(f"{destination} cannot be written: {error.strerror}") from None
    return Manifest(now, root_key.id, files, text, seal)


def _refuse_existing(destination: Path) -> None:
    if os.path.lexists(destination):
        raise BackupRefused(f"{destination} is there already; a backup overwrites nothing")


def _copy_database(source: Path, destination: Path) -> None:
    """A copy as the database is at one moment, complete in one file; writers do not wait for it."""
    if not source.is_file():
        raise BackupRefused(f"{source} is missing: there is nothing to back up")
    try:
        os.close(os.open(destination, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        uri = f"file:{quote(str(source))}?mode=rw"
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as reading,
            closing(sqlite3.connect(destination)) as writing,
        ):
            # All pages in one step: in smaller ones, a copy begins anew whenever somebody writes.
            reading.backup(writing, pages=-1)
            writing.execute("PRAGMA journal_mode=DELETE")
        _check_database(destination, source)
    except sqlite3.Error as error:
        raise BackupRefused(f"{source} cannot be read: {error}") from None
    except OSError as error:
        raise BackupRefused(f"{destination} cannot be written: {error.strerror}") from None


def _check_database(path: Path, named: Path) -> None:
    """Has SQLite look at every page. Raises BackupRefused."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        raise BackupRefused(f"{named} is damaged: {verdict}")


def _manifest_text(now: datetime, root_key: str, files: Mapping[str, tuple[int, str]]) -> bytes:
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "created": now.isoformat(),
        "root_key": root_key,
        "files": {name: {"size": size, "sha256": digest} for name, (size, digest) in files.items()},
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def _write_archive(path: Path, copies: Mapping[str, Path], texts: Mapping[str, bytes], now: datetime) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as output:
        with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, copy in copies.items():
                with copy.open("rb") as content:
                    archive.addfile(_member(name, copy.stat().st_size, now), content)
            for name, text in texts.items():
                archive.addfile(_member(name, len(text), now), io.BytesIO(text))
        output.flush()
        os.fsync(descriptor)


def _member(name: str, size: int, now: datetime) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(now.timestamp())
    return member


def read(archive: Path, destinations: Mapping[str, Path]) -> Manifest:
    """Takes a backup's databases out, into new files of mode 0600, and holds each to the manifest.

    Raises:
        BackupRefused: it is no backup of these databases, or is damaged.
    """
    try:
        with tarfile.open(archive, "r:") as opened:
            text, seal = _read_small(opened, _MANIFEST), _read_small(opened, _SEAL)
            manifest = _parse_manifest(archive, text, seal)
            if manifest.files.keys() != destinations.keys():
                raise BackupRefused(f"{archive} holds {', '.join(manifest.files)}, not {', '.join(destinations)}")
            for name, destination in destinations.items():
                _take_out(opened, name, destination, *manifest.files[name])
    except (tarfile.TarError, KeyError, EOFError, ValueError) as error:
        raise BackupRefused(f"{archive} is no backup, or is damaged: {error}") from None
    except OSError as error:
        raise BackupRefused(f"{error.filename or archive}: {error.strerror}") from None
    for name, destination in destinations.items():
        _check_database(destination, archive / name)
    return manifest


def _read_small(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.getmember(name)
    content = archive.extractfile(member)
    if content is None or member.size > _MOST_MANIFEST:
        raise ValueError(f"{name} is none")
    return content.read()


def _parse_manifest(archive: Path, text: bytes, seal: bytes) -> Manifest:
    document: dict[str, Any] = json.loads(text)
    if document.get("format") != _FORMAT:
        raise ValueError("the manifest is another program's")
    if document["version"] != _VERSION:
        raise BackupRefused(f"{archive} was made by a newer version of this program")
    files = {name: (int(each["size"]), str(each["sha256"])) for name, each in document["files"].items()}
    return Manifest(datetime.fromisoformat(document["created"]), document["root_key"], files, text, seal)


def _take_out(archive: tarfile.TarFile, name: str, destination: Path, size: int, digest: str) -> None:
    content = archive.extractfile(archive.getmember(name))
    if content is None:
        raise ValueError(f"{name} is no file")
    found = hashlib.sha256()
    written = 0
    descriptor = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as output:
        while chunk := content.read(_CHUNK):
            found.update(chunk)
            written += len(chunk)
            output.write(chunk)
    if written != size or found.hexdigest() != digest:
        raise ValueError(f"{name} is not what the manifest says")


async def check_seal(manifest: Manifest, unwrap: Callable[[bytes, bytes], Awaitable[bytes]]) -> None:
    """Holds a manifest to its seal, by the root key's ``unwrap``.

    Raises:
        BackupRefused: somebody has changed it, or the root key is another one.
    """
    try:
        digest = await unwrap(manifest.seal, _SEAL_LABEL)
    except WrongRootKey:
        digest = b""
    if not hmac.compare_digest(digest, hashlib.sha256(manifest.text).digest()):
        raise BackupRefused("the backup was changed after it was made: its seal does not fit")


def is_empty(database: Path) -> bool:
    """Whether nothing would be lost with a database: it is not there, or no table has a row."""
    if not any(database.with_name(database.name + ending).exists() for ending in _BESIDE):
        return True
    if not database.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            return not any(
                connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()  # noqa: S608 - a name of the schema
                for (name,) in tables
            )
    except sqlite3.Error:
        return False


def remove(database: Path) -> None:
    """Removes a database that nobody has open, and what SQLite keeps beside it; it may be gone already."""
    for ending in _BESIDE:
        database.with_name(database.name + ending).unlink(missing_ok=True)


def put_in_place(new: Mapping[Path, Path], aside: str) -> list[Path]:
    """Moves new databases (values) to where they belong (keys), in their order; what is there is kept under a name
    that ends in ``aside``. Returns the databases that were moved aside.

    Ended in between, those that come later are missing, never mixed with others' write-ahead logs.
    Raises OSError or BackupRefused."""
    for source in new.values():
        _complete(source)
    moved = [database for database in new if _move_aside(database, aside)]
    for database, source in new.items():
        sync_file(source)
        source.replace(database)
        sync_directory(database.parent)
    return [database.with_name(database.name + aside) for database in moved]


def _complete(database: Path) -> None:
    """Has all of a database in its one file. Raises BackupRefused when somebody still has it open."""
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.Error as error:
        raise BackupRefused(f"{database} cannot be completed: {error}") from None
    if mode != "delete":
        raise BackupRefused(f"{database} is still open")


def _move_aside(database: Path, aside: str) -> bool:
    moved = False
    # The write-ahead log goes after its database, so that SQLite would find one beside the other again.
    for ending in _BESIDE:
        with suppress(FileNotFoundError):
            database.with_name(database.name + ending).rename(database.with_name(database.name + aside + ending))
            moved = True
    return moved


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
