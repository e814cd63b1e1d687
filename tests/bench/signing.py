"""The requests that the load is made of: signed as SDKs sign them, in the payload modes that SDKs use."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Final, Literal

from proxy.aws import checksums
from tests.bench.load import Pieces
from tests.e2e.wire import (
    EMPTY_SHA256,
    SIGNED_CHUNKS,
    UNSIGNED,
    UNSIGNED_TRAILER,
    Fields,
    Signer,
    now,
    stamp,
    with_query,
)

Mode = Literal["sha256", "unsigned", "trailer", "chunks"]
"""How a body is signed: by its SHA-256; not at all; not at all, but with a CRC64NVME in a trailer; chunk by chunk."""

_CHUNK: Final = 65_536
_BLOCK: Final = 64 * 1024 * 1024


@dataclass(frozen=True)
class Account:
    """Where a contender listens and who asks there."""

    port: int
    signer: Signer
    bucket: str
    put_headers: Mapping[str, str] = field(default_factory=dict)
    """What a PUT needs to be encrypted, beyond the bucket's own default."""

    def request(
        self,
        method: str,
        key: str = "",
        query: Fields = (),
        headers: Mapping[str, str] | None = None,
        payload: str = EMPTY_SHA256,
        moment: datetime | None = None,
    ) -> tuple[bytes, str]:
        """A signed request's head, and its signature."""
        moment = moment or now()
        path = f"/{self.bucket}/{key}" if key else f"/{self.bucket}"
        sent = {
            "Host": f"127.0.0.1:{self.port}",
            "User-Agent": "Boto3/1.43.117 md/Botocore#1.43.117 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11",
            "Accept-Encoding": "identity",
            "X-Amz-Date": stamp(moment),
            "X-Amz-Content-SHA256": payload,
            **(headers or {}),
        }
        lower = {
            name.lower(): value
            for name, value in sent.items()
            if name not in ("User-Agent", "Accept-Encoding", "Content-Length")
        }
        signature = self.signer.signature(method, path, query, lower, payload, moment)
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={self.signer.access_key_id}/{self.signer.scope(moment)}, "
            f"SignedHeaders={';'.join(sorted(lower))}, Signature={signature}"
        )
        lines = [f"{method} {with_query(path, query)} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in {**sent, "Authorization": authorization}.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode(), signature

    def get(self, key: str, headers: Mapping[str, str] | None = None) -> Pieces:
        return (self.request("GET", key, headers=headers)[0],)

    def put(self, key: str, size: int, mode: Mode, query: Fields = (), *, part: bool = False) -> Pieces:
        """A PUT of ``size`` bytes, the same ones for each key."""
        headers = {"Content-Type": "application/octet-stream", **({} if part else self.put_headers)}
        headers["Content-Length"] = str(size)
        body = body_of(size)
        if mode == "trailer":
            checksum = _crc(size)
            framed = _framed(size, f"x-amz-checksum-crc64nvme:{checksum}")
            headers |= _chunked_headers(size, framed) | {"X-Amz-Trailer": "x-amz-checksum-crc64nvme"}
            return self.request("PUT", key, query, headers, UNSIGNED_TRAILER)[0], *framed
        if mode == "chunks":
            return self._signed_chunks(key, size, query, headers)
        payload = UNSIGNED if mode == "unsigned" else _sha256(size)
        head = self.request("PUT", key, query, headers, payload)[0]
        # What fits into one segment of the network leaves in one piece, as a client's write does.
        return (head + b"".join(body),) if size <= _CHUNK else (head, *body)

    def _signed_chunks(self, key: str, size: int, query: Fields, headers: dict[str, str]) -> Pieces:
        signer, moment = self.signer, now()
        length = sum(len(f"{n:x};chunk-signature=\r\n\r\n") + 64 + n for n in _chunk_sizes(size))
        headers |= {
            "Content-Encoding": "aws-chunked",
            "X-Amz-Decoded-Content-Length": str(size),
            "Content-Length": str(length),
        }
        head, previous = self.request("PUT", key, query, headers, SIGNED_CHUNKS, moment)
        signing_key, position = signer.key(moment), 0
        pieces: list[bytes | memoryview] = [head]
        data = memoryview(b"".join(body_of(size)))
        for number in _chunk_sizes(size):
            chunk = data[position : position + number]
            position += number
            hashes = f"{EMPTY_SHA256}\n{hashlib.sha256(chunk).hexdigest()}"
            scope = f"{stamp(moment)}\n{signer.scope(moment)}"
            text = f"AWS4-HMAC-SHA256-PAYLOAD\n{scope}\n{previous}\n{hashes}"
            previous = hmac.digest(signing_key, text.encode(), "sha256").hex()
            pieces += [f"{number:x};chunk-signature={previous}\r\n".encode(), chunk, b"\r\n"]
        return pieces


def _chunk_sizes(size: int) -> list[int]:
    return [*(min(_CHUNK, size - start) for start in range(0, size, _CHUNK)), 0]


def _chunked_headers(size: int, framed: Sequence[bytes | memoryview]) -> dict[str, str]:
    return {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": str(size),
        "Content-Length": str(sum(map(len, framed))),
    }


def _framed(size: int, trailer: str) -> list[bytes | memoryview]:
    """An unsigned aws-chunked body in chunks of 1 MiB, which is what botocore makes."""
    step, pieces = 1024 * 1024, list[bytes | memoryview]()
    for start in range(0, size, step):
        number = min(step, size - start)
        pieces += [f"{number:x}\r\n".encode(), _block()[start % _BLOCK : start % _BLOCK + number], b"\r\n"]
    pieces.append(f"0\r\n{trailer}\r\n\r\n".encode())
    return pieces if size > step else [b"".join(pieces)]


def body_of(size: int) -> list[memoryview]:
    """The bytes of every object of that size, in pieces that all of them share."""
    block = _block()
    return [block[: min(_BLOCK, size - start)] for start in range(0, size, _BLOCK)]


@cache
def _block() -> memoryview:
    # Nothing can be compressed or taken for another block.
    return memoryview(hashlib.shake_256(b"benchmark").digest(_BLOCK))


@cache
def _sha256(size: int) -> str:
    digest = hashlib.sha256()
    for piece in body_of(size):
        digest.update(piece)
    return digest.hexdigest()


@cache
def _crc(size: int) -> str:
    hasher = checksums.new("CRC64NVME")
    for piece in body_of(size):
        hasher.update(piece)
    return checksums.encode(hasher.digest())
