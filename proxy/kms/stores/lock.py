"""Who uses a key store's files: any number of processes that serve or look, or one that puts other files there."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.kms.store import StoreUnavailable


class StoreInUse(StoreUnavailable):
    """The lock is taken, for the other kind of use."""


@contextmanager
def in_use(database: Path) -> Iterator[None]:
    """Keeps others from putting another database in this one's place; held while the process lives, at the longest.

    Raises StoreInUse when somebody is just about to, StoreUnavailable when the lock's file cannot be made."""
    with _locked(database, fcntl.LOCK_SH, f"{database} is being restored; try again when that is done"):
        yield


@contextmanager
def to_be_replaced(database: Path) -> Iterator[None]:
    """Keeps everybody else out. Raises StoreInUse when somebody is in, StoreUnavailable."""
    with _locked(database, fcntl.LOCK_EX, f"{database} is in use: stop what serves it first"):
        yield


@contextmanager
def _locked(database: Path, how: int, refusal: str) -> Iterator[None]:
    # A file of its own: it is there, and is the same one, whatever becomes of the database's.
    path = database.with_name(f"{database.name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreInUse(refusal) from None
        yield
    finally:
        os.close(descriptor)
