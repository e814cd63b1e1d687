"""The files of a chain: ``<name>.<six digits>.jsonl``, in one directory with the heads and the locks."""

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from proxy.durable import sync_directory

HEADS: Final = "heads.db"

_FILE: Final = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9]{6,9})\.jsonl")


def chains(directory: Path) -> dict[str, list[Path]]:
    """The files of each chain, in order."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in directory.iterdir():
        matched = _FILE.fullmatch(path.name)
        if matched:
            found.setdefault(matched[1], []).append((int(matched[2]), path))
    return {name: [path for _, path in sorted(files)] for name, files in sorted(found.items())}


def file_number(path: Path) -> int:
    return int(path.name.split(".")[1])


def create(directory: Path, name: str, number: int) -> int:
    """A new file, mode 0600, that will be found after a loss of power; its descriptor."""
    path = directory / f"{name}.{number:06d}.jsonl"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    sync_directory(directory)
    return descriptor


def lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Line numbers from 1, the lines without their line feed, and whether they had one."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield number, line.removesuffix(b"\n"), line.endswith(b"\n")


def take_lock(directory: Path, name: str) -> int | None:
    """A descriptor that holds the lock of a chain until it is closed; None while another process has it."""
    descriptor = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_written(directory: Path, name: str) -> bool:
    """Whether a process has the lock of a chain now."""
    path = directory / f"{name}.lock"
    if not path.exists():
        return False
    descriptor = take_lock(directory, name)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
