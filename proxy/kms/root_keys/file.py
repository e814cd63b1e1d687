"""A root key of 32 bytes, kept in a file of mode 0600 or handed over by the configuration."""

from collections.abc import Callable
from pathlib import Path

from proxy.kms.root_key import RootKey


def load(path: Path) -> bytes:
    """The key in ``path``: 32 bytes as base64 with an optional newline.

    Raises RootKeyUnusable: there is no such file, group or others may read or write it, or it holds something else."""
    raise NotImplementedError


def create(path: Path, random: Callable[[int], bytes]) -> bytes:
    """Makes a key in a new file of mode 0600, durably, and returns it. An existing file is left alone: its key is loaded."""
    raise NotImplementedError


def parse(text: str) -> bytes:
    """The key in base64. Raises RootKeyUnusable when it is not 32 bytes; the text never shows in the error."""
    raise NotImplementedError


class LocalRootKey(RootKey):
    """XAES-256-GCM under 32 bytes in this process's memory."""

    def __init__(self, key: bytes, random: Callable[[int], bytes]) -> None:
        raise NotImplementedError
