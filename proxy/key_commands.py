"""The key store in operation: opened with its root key for whoever serves or looks, rotated, backed up, restored."""

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from proxy.config import StartError
from proxy.keys_reader import KeysSettings
from proxy.kms import backup, root_key_rotation
from proxy.kms.backup import BackupRefused, Manifest
from proxy.kms.errors import RootKeyUnusable, WrongRootKey
from proxy.kms.root_key_rotation import Rotation, RotationRefused, Status
from proxy.kms.root_keys import file as root_key_file
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.root_keys.versioned import GuardedKeyStore, VersionedRootKey
from proxy.kms.store import KeyStore, StoreUnavailable
from proxy.kms.stores import lock
from proxy.kms.stores.sqlite import SqliteKeyStore
from proxy.s3.state.ports import StateUnavailable
from proxy.s3.state.sqlite import SqliteState

logger = logging.getLogger(__name__)

KEYS_NAME = "keys.db"
STATE_NAME = "state.db"


@dataclass(frozen=True)
class Files:
    """What a backup is of."""

    keys: KeysSettings
    state: Path


@dataclass(frozen=True)
class Restored:
    """What a restore came to."""

    manifest: Manifest
    records: int
    """Sealed records, each of which the root key opens."""
    aside: tuple[Path, ...]
    """Where the databases are now that were there before."""


def configured_root_key(settings: KeysSettings) -> LocalRootKey:
    """The root key that the configuration names, read anew. Raises RootKeyUnusable."""
    if settings.root_key is not None:
        return LocalRootKey(settings.root_key, os.urandom)
    if settings.root_key_file is None:
        raise RootKeyUnusable("no root key is configured")
    return LocalRootKey(root_key_file.load(settings.root_key_file), os.urandom)


def open_key_store(database: Path) -> KeyStore:
    """The key store, which takes nothing that a former root key has sealed. Raises StoreUnavailable."""
    return GuardedKeyStore(SqliteKeyStore(database, watch=True))


async def open_root_key(store: KeyStore, settings: KeysSettings) -> VersionedRootKey:
    """The root key in its versions, started. Raises RootKeyUnusable, WrongRootKey or StoreUnavailable."""
    root_key = VersionedRootKey(
        store, configured_root_key(settings), now, os.urandom, lambda: configured_root_key(settings)
    )
    await root_key_rotation.start(root_key, store)
    return root_key


def now() -> datetime:
    return datetime.now(UTC)


async def rotate_root_key(settings: KeysSettings, new_file: Path | None, progress: Callable[[int], None]) -> Rotation:
    """Rotates to the root key in ``new_file``, else to that of the environment; without either, completes the rotation
    that is under way.

    Raises:
        StartError: it cannot be done like this.
        RootKeyUnusable, WrongRootKey: a root key cannot be used, or a record is damaged.
    """
    target: LocalRootKey | None = None
    if new_file is not None:
        target = LocalRootKey(root_key_file.load(new_file), os.urandom)
    elif settings.new_root_key is not None:
        target = LocalRootKey(settings.new_root_key, os.urandom)
    async with _opened(settings) as (store, root_key):
        # After a rotation, a worker that began with the new root key may have completed it already: that is a success.
        if target is None and root_key.state.handover is None and root_key.state.current.version == 1:
            status = await root_key_rotation.status(store, root_key)
            if status.is_sufficient:
                raise StartError("name the new root key with --new-root-key-file; no rotation is under way")
        try:
            return await root_key_rotation.rotate(store, root_key, target, progress)
        except RotationRefused as error:
            raise StartError(str(error)) from None


async def root_key_status(settings: KeysSettings) -> Status:
    """Opens every sealed record. Raises StartError, RootKeyUnusable or WrongRootKey."""
    async with _opened(settings) as (store, root_key):
        return await root_key_rotation.status(store, root_key)


async def back_up(files: Files, destination: Path) -> Manifest:
    """Raises StartError, RootKeyUnusable or WrongRootKey."""
    async with _opened(files.keys) as (_, root_key):
        # Buckets name keys, so no key of the copy may be missing that its buckets name.
        databases = {STATE_NAME: files.state, KEYS_NAME: files.keys.database}
        try:
            return await backup.write(destination, databases, root_key, now(), os.urandom)
        except BackupRefused as error:
            raise StartError(str(error)) from None


async def restore(files: Files, archive: Path, *, force: bool) -> Restored:
    """Puts a backup's databases in place, once everything about it was found right.

    Raises:
        StartError: something serves, there is something to lose, or the backup is damaged; nothing was changed.
        RootKeyUnusable, WrongRootKey: the root key cannot be used, or the backup needs another one.
    """
    places = {STATE_NAME: files.state, KEYS_NAME: files.keys.database}
    suffix = f"restoring-{os.getpid()}.{os.urandom(4).hex()}"
    try:
        with ExitStack() as cleanup:
            for place in places.values():
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            cleanup.enter_context(lock.to_be_replaced(files.keys.database))
            _refuse_to_lose(places.values() if not force else ())
            new = {name: place.with_name(f".{place.name}.{suffix}") for name, place in places.items()}
            for path in new.values():
                cleanup.callback(backup.remove, path)
            manifest = backup.read(archive, new)
            records = await _check(manifest, new, files.keys)
            # Ended in between, an endpoint would find its keys and refuse its buckets, rather than make other keys.
            aside = backup.put_in_place(
                {places[name]: new[name] for name in (KEYS_NAME, STATE_NAME)},
                f".before-restore-{now():%Y%m%dT%H%M%SZ}",
            )
    except (BackupRefused, StoreUnavailable, StateUnavailable) as error:
        raise StartError(str(error)) from None
    return Restored(manifest, records, tuple(aside))


def _refuse_to_lose(databases: Iterable[Path]) -> None:
    for database in databases:
        if not backup.is_empty(database):
            raise BackupRefused(f"{database} is not empty; with --force it is kept under another name")


async def _check(manifest: Manifest, databases: dict[str, Path], settings: KeysSettings) -> int:
    """Opens what was taken out of a backup, as it will be opened; the number of records that the root key opens."""
    state = SqliteState(databases[STATE_NAME])
    await state.aclose()
    store = open_key_store(databases[KEYS_NAME])
    try:
        root_key = await open_root_key(store, settings)
        await backup.check_seal(manifest, root_key.unwrap)
        found = await root_key_rotation.status(store, root_key)
    except WrongRootKey as error:
        raise WrongRootKey(f"the backup needs another root key: {error}") from None
    finally:
        await store.aclose()
    if found.damaged:
        raise BackupRefused(f"the root key does not open what the backup holds: {', '.join(found.damaged)}")
    return sum(found.sealed.values())


@asynccontextmanager
async def _opened(settings: KeysSettings) -> AsyncIterator[tuple[KeyStore, VersionedRootKey]]:
    """A key store that is there already."""
    if not settings.database.exists():
        raise StartError(f"{settings.database} does not exist: there are no keys yet")
    try:
        with lock.in_use(settings.database):
            store = open_key_store(settings.database)
            try:
                yield store, await open_root_key(store, settings)
            finally:
                await store.aclose()
    except StoreUnavailable as error:
        raise StartError(str(error)) from None
