"""What the tests of the envelope share: fixed randomness, and running a transform over pieces."""

from collections.abc import Callable, Iterable, Sequence
from hashlib import shake_128
from itertools import pairwise

import pytest

from proxy.envelope import v1
from proxy.envelope.header import Mode
from proxy.stream import Buffer, Transform

Run = Callable[..., bytes]


class FixedRandom:
    """Gives the bytes of a SHAKE-128 stream, and remembers what it gave."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._count = 0
        self.given: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self._count += 1
        data = shake_128(self._seed + self._count.to_bytes(4, "big")).digest(size)
        self.given.append(data)
        return data


def run(transform: Transform, data: Buffer | Iterable[Buffer], cuts: Sequence[int] = ()) -> bytes:
    """The transform's whole output for ``data``, cut into pieces at ``cuts``."""
    if isinstance(data, bytes | bytearray | memoryview):
        edges = [0, *sorted(min(position, len(data)) for position in cuts), len(data)]
        data = [data[left:right] for left, right in pairwise(edges)]
    output = [transform.update(piece) for piece in data]
    output.append(transform.finalize())
    return b"".join(output)


def pattern(size: int, seed: bytes = b"plaintext") -> bytes:
    """Bytes that differ everywhere."""
    return shake_128(seed).digest(size)


@pytest.fixture(name="run", scope="session")
def run_fixture() -> Run:
    return run


@pytest.fixture(name="pattern", scope="session")
def pattern_fixture() -> Callable[..., bytes]:
    return pattern


@pytest.fixture
def random() -> FixedRandom:
    return FixedRandom(b"random")


@pytest.fixture(scope="session")
def fixed_random() -> type[FixedRandom]:
    return FixedRandom


@pytest.fixture(scope="session")
def data_key() -> bytes:
    return shake_128(b"data key").digest(32)


@pytest.fixture(scope="session")
def wrapping() -> v1.Wrapping:
    return v1.Wrapping(
        Mode.KMS,
        "arn:aws:kms:ap-northeast-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
        shake_128(b"ciphertext blob").digest(99),
        {"department": "10103.0", "ünïcode": "✓"},
    )
