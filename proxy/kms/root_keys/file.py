"""A root key of 32 bytes, kept in a file of mode 0600 or handed over by the configuration."""

import base64
import binascii
import hashlib
import hmac
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag

from proxy.durable import sync_directory
from proxy.kms.errors import RootKeyUnusable, WrongRootKey
from proxy.kms.root_key import RootKey
from proxy.xaes import XAES256GCM

KEY_SIZE: Final = 32

_VERSION: Final = b"\x01"
_NONCE_SIZE: Final = 24
_ID_LABEL: Final = b"sse-kms-proxy root key id v1"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAX_FILE: Final = 1024


def load(path: Path) -> bytes:
    """The key in ``path``: 32 bytes as base64 with an optional newline.

    Raises:
        RootKeyUnusable: there is no such file, group or others may use it, or it holds something else.
    """
    try:
        text = _read_private(path)
    except OSError as error:
        raise RootKeyUnusable(f"the root key file {path} cannot be read: {error.strerror}") from None
    try:
        return parse(text.decode("ascii"))
    except (UnicodeDecodeError, RootKeyUnusable):
        raise RootKeyUnusable(f"the root key file {path} does not hold 32 bytes in base64") from None


def _read_private(path: Path) -> bytes:
    """What a regular file holds that only its owner may use; looked at and read through one descriptor."""
    # Without O_NONBLOCK, opening a named pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RootKeyUnusable(f"the root key file {path} is not a regular file")
        if status.st_mode & _OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise RootKeyUnusable(f"the root key file {path} has mode {mode:04o}; run: chmod 600 {path}")
        return os.read(descriptor, _MAX_FILE)
    finally:
        os.close(descriptor)


def create(path: Path, random: Callable[[int], bytes]) -> bytes:
    """Makes a key in a new file of mode 0600, durably, and returns it. An existing file is left alone: its key is
    loaded, so that several processes may start at once.

    Raises:
        RootKeyUnusable: the file cannot be made, or what is there cannot be used.
    """
    text = base64.b64encode(random(KEY_SIZE)) + b"\n"
    # Linked under its name only when it is whole: another process that starts now sees no key or all of it.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{random(4).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            os.link(temporary, path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError:
        pass
    except OSError as error:
        raise RootKeyUnusable(f"the root key file {path} cannot be made: {error.strerror}") from None
    return load(path)


def parse(text: str) -> bytes:
    """The key in base64. Raises RootKeyUnusable when it is not 32 bytes; the text never shows in the error."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_SIZE:
        raise RootKeyUnusable("the root key is not 32 bytes in base64")
    return key


class LocalRootKey(RootKey):
    """XAES-256-GCM under 32 bytes in this process's memory. Wrapped: version 1, 24 bytes of nonce, ciphertext, tag."""

    def __init__(self, key: bytes, random: Callable[[int], bytes]) -> None:
        self._key = key
        self._id = hmac.new(key, _ID_LABEL, hashlib.sha256).hexdigest()[:16]
        self._cipher = XAES256GCM(key)
        self._random = random

    @property
    def id(self) -> str:
        return self._id

    def export(self) -> bytes:
        """The key itself, to be sealed under another root key while one takes the other's place."""
        return self._key

    async def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        nonce = self._random(_NONCE_SIZE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plaintext, _VERSION + associated_data)

    async def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        if wrapped[:1] != _VERSION:
            raise WrongRootKey("a record was sealed in a form that this version does not know")
        nonce, sealed = wrapped[1 : 1 + _NONCE_SIZE], wrapped[1 + _NONCE_SIZE :]
        try:
            return self._cipher.decrypt(nonce, sealed, _VERSION + associated_data)
        except (InvalidTag, ValueError):
            raise WrongRootKey("the root key does not open what is stored") from None
