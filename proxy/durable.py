"""What is written reaches the disk, so that it is there after a loss of power."""

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Makes the content of a file durable."""
    _sync(path, os.O_RDONLY | os.O_CLOEXEC)


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    _sync(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
