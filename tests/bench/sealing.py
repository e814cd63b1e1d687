"""What sealing and opening cost by themselves, beside the bare primitive and what else a body's bytes go through."""

import hashlib
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.aws import checksums
from proxy.aws.checksums import Hasher
from proxy.envelope import v1
from proxy.envelope.digests import NO_DIGESTS
from proxy.envelope.header import Header, Mode
from proxy.envelope.segments import Sealer
from proxy.envelope.v1 import Unlocked, Wrapping
from proxy.stream import Transform

_MIB: Final = 1024 * 1024
_SIZE: Final = 64 * _MIB
_PIECE: Final = 512 * 1024
"""What the server and the client of the store hand on at a time."""
_SEGMENT: Final = 65_520
_KEY: Final = bytes(range(32))


def measure(rounds: int) -> dict[str, float]:
    """CPU microseconds per MiB of each, medians of interleaved rounds; and the shares that the primitive has of
    sealing and opening, medians of the rounds' own."""
    piece = os.urandom(_PIECE)
    sealed = _sealed(piece)
    runs: dict[str, Callable[[], float]] = {
        "AESGCM.encrypt_into": _bare,
        "seal": lambda: _seal(piece),
        "open": lambda: _open(*sealed),
        "SHA-256": lambda: _hash(hashlib.sha256(), piece),
        "MD5": lambda: _hash(hashlib.md5(usedforsecurity=False), piece),
        "CRC64NVME": lambda: _hash(checksums.new("CRC64NVME"), piece),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            seconds = run()
            if number:
                times[name].append(seconds * 1e6 / (_SIZE / _MIB))
    found = {name: statistics.median(each) for name, each in times.items()}
    for name in ("seal", "open"):
        ratios = [bare / own for bare, own in zip(times["AESGCM.encrypt_into"], times[name], strict=True)]
        found[f"{name} ratio"] = statistics.median(ratios)
    openssl = openssl_speed()
    if openssl is not None:
        found["openssl speed"] = openssl
    return found


def openssl_speed() -> float | None:
    """Microseconds per MiB that ``openssl speed`` measures at the same block size; None without openssl."""
    command = ["openssl", "speed", "-evp", "aes-256-gcm", "-bytes", str(_SEGMENT), "-seconds", "1", "-mr"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    found = re.search(r"^\+F:.*:([0-9.]+)$", result.stdout, re.MULTILINE)
    return 1e6 / (float(found[1]) / _MIB) if found else None


def _bare() -> float:
    cipher, data, output = AESGCM(_KEY), os.urandom(_SEGMENT), bytearray(_SEGMENT + 16)
    nonce = bytes(12)
    began = time.process_time()
    for _ in range(_SIZE // _SEGMENT):
        cipher.encrypt_into(nonce, data, None, output)
    return time.process_time() - began


def _through(transform: Transform, pieces: Sequence[memoryview]) -> float:
    """Seconds that a transform takes for pieces that, as from the network, have just been copied to where they are;
    without the copying, which takes longer between two pieces than by itself."""
    place, seconds = memoryview(bytearray(_PIECE)), 0.0
    for piece in pieces:
        view = place[: len(piece)]
        view[:] = piece
        began = time.thread_time()
        transform.update(view)
        seconds += time.thread_time() - began
    began = time.thread_time()
    transform.finalize()
    return seconds + time.thread_time() - began


def _sealer() -> tuple[Header, Sealer]:
    wrapping = Wrapping(Mode.KMS, "arn:aws:kms:eu-west-1:111122223333:key/1", b"wrapped")
    return v1.seal_single(_KEY, wrapping, plaintext_size=_SIZE, footer=lambda: NO_DIGESTS, random=os.urandom)


def _seal(piece: bytes) -> float:
    began = time.process_time()
    sealer = _sealer()[1]
    return time.process_time() - began + _through(sealer, [memoryview(piece)] * (_SIZE // _PIECE))


def _sealed(piece: bytes) -> tuple[Unlocked, list[memoryview]]:
    header, sealer = _sealer()
    parts = [bytes(sealer.update(piece)) for _ in range(_SIZE // _PIECE)]
    whole = memoryview(b"".join((*parts, sealer.finalize())))
    return v1.unlock(header, _KEY), [whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE)]


def _open(unlocked: Unlocked, pieces: list[memoryview]) -> float:
    began = time.process_time()
    opener = v1.open_single(unlocked)
    return time.process_time() - began + _through(opener, pieces)


def _hash(hasher: Hasher, piece: bytes) -> float:
    began = time.process_time()
    for _ in range(_SIZE // _PIECE):
        hasher.update(piece)
    hasher.digest()
    return time.process_time() - began


if __name__ == "__main__":
    for name, figure in measure(7).items():
        print(f"{name:20} {figure:8.2f}")
