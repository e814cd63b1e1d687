"""How much memory a worker needs for a body of a size."""

import hashlib
import io
import re
from pathlib import Path

from tests.e2e.samples import MIB
from tests.e2e.stores import REGION, Endpoint

_BLOCK = hashlib.shake_256(b"block").digest(MIB)


class Pattern(io.RawIOBase):
    """A body of ``blocks`` MiB that nobody has to hold: each block begins with its number."""

    def __init__(self, blocks: int) -> None:
        self._size, self._position = blocks * MIB, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._size, self._position + size)
        block, offset = divmod(self._position, MIB)
        piece = (block.to_bytes(8, "big") + _BLOCK[8:])[offset : offset + end - self._position]
        self._position += len(piece)
        return piece


def digest(body: Pattern) -> str:
    found = hashlib.sha256()
    while piece := body.read(MIB):
        found.update(piece)
    return found.hexdigest()


def peak_after_round_trip(endpoint: Endpoint, bucket: str, blocks: int) -> int:
    """The peak of the one worker's resident memory, in KiB, after a body of ``blocks`` MiB went up and came down."""
    s3 = endpoint.client("s3", request_checksum_calculation="when_required", s3={"payload_signing_enabled": False})
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=bucket, Key="k", Body=Pattern(blocks), ServerSideEncryption="aws:kms")
    received = hashlib.sha256()
    for piece in s3.get_object(Bucket=bucket, Key="k")["Body"].iter_chunks(MIB):
        received.update(piece)
    assert received.hexdigest() == digest(Pattern(blocks))
    (worker,) = endpoint.workers
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1])
