"""A second reader, written from FORMAT.md alone, opens the committed vectors and what the first implementation writes.

It imports nothing of the package but what makes the objects.
"""

import hmac
import json
import struct
from base64 import b64decode, b64encode, urlsafe_b64decode
from hashlib import sha256, shake_128
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.envelope import header as headers
from proxy.envelope import v1
from proxy.envelope.digests import Digests
from proxy.envelope.header import Mode

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "envelope_v1.json").read_text("utf-8"))
FORMAT = b"\1\1"
CODES = {
    1: ("CRC32", 4),
    2: ("CRC32C", 4),
    3: ("CRC64NVME", 8),
    4: ("SHA1", 20),
    5: ("SHA256", 32),
    6: ("SHA512", 64),
    7: ("MD5", 16),
    8: ("XXHASH64", 8),
    9: ("XXHASH3", 8),
    10: ("XXHASH128", 16),
    64: ("etag", 16),
}


def hkdf(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    extracted = hmac.digest(salt, key, "sha256")
    block, output = b"", b""
    for counter in range(1, ceil(length / 32) + 1):
        block = hmac.digest(extracted, block + info + bytes((counter,)), "sha256")
        output += block
    return output[:length]


def binding(object_id: bytes, number: int, attempt: bytes, size: int) -> bytes:
    return FORMAT + object_id + struct.pack(">I", number) + attempt + struct.pack(">Q", size)


def varint(data: bytes) -> tuple[int, bytes]:
    value = shift = 0
    while True:
        byte, data = data[0], data[1:]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, data
        shift += 7


def entries(data: bytes) -> dict[str, bytes]:
    found = {}
    while data and data[0]:
        name, size = CODES[data[0]]
        found[name], data = data[1 : 1 + size], data[1 + size :]
    return found


def raw(told: dict[str, Any] | None) -> dict[str, bytes]:
    """A vector's digests in the form that ``entries`` gives."""
    if told is None:
        return {}
    found = {name: b64decode(value) for name, value in told["checksums"].items()}
    return found | ({"etag": bytes.fromhex(told["md5"])} if told["md5"] else {})


def read_header(metadata: dict[str, str], data_key: bytes) -> tuple[bytes, bytes]:
    """The salt and the record's content, after the checks that section 2 asks for."""
    value = metadata["x-amz-meta-sse-proxy-key"]
    key = urlsafe_b64decode(value + "=" * (-len(value) % 4))
    assert key[0] == 1
    kind, salt, commitment = key[1], key[2:34], key[34:66]
    size, rest = varint(key[66:])
    record = rest[size + (72 if kind & (8 | 32) else 0) :]
    if kind & 64:
        size, rest = varint(record)
        record = rest[size:]
    assert len(data_key) == (64 if kind & 64 else 32)
    keys = hkdf(data_key, salt, b"sse-proxy/1 head" + FORMAT, 64)
    assert hmac.compare_digest(keys[:32], commitment)
    assert ("x-amz-meta-sse-proxy-arn" in metadata) == (kind & 16 == 0)
    arn = metadata.get("x-amz-meta-sse-proxy-arn", "").encode()
    context = b64decode(metadata.get("x-amz-meta-sse-proxy-context", ""))
    bound = b"sse-proxy/1 head" + FORMAT + bytes((kind,)) + salt + struct.pack(">H", len(arn)) + arn + context
    return salt, AESGCM(keys[32:]).decrypt(record[:12], record[12:], bound)


def read_stream(stream: bytes, data_key: bytes, bound: bytes, label: bytes = b"body") -> bytes:
    salt = stream[1:33]
    assert stream[:40] == b"\x28" + salt + salt[25:]
    cipher = AESGCM(hkdf(data_key, salt, b"sse-proxy/1 " + label + bound, 32))
    segments = [stream[40:65_536]] + [stream[start : start + 65_536] for start in range(65_536, len(stream), 65_536)]
    plaintext = b""
    for index, segment in enumerate(segments):
        nonce = salt[25:] + struct.pack(">I", index) + bytes((index == len(segments) - 1,))
        plaintext += cipher.decrypt(nonce, segment, None)
    return plaintext


def read_footer(footer: bytes, salt: bytes, data_key: bytes, bound: bytes) -> dict[str, bytes]:
    cipher = AESGCM(hkdf(data_key, salt, b"sse-proxy/1 foot" + bound, 32))
    return entries(cipher.decrypt(bytes(12), footer, None))


def read_single(metadata: dict[str, str], data_key: bytes, body: bytes) -> tuple[bytes, dict[str, bytes], Any]:
    salt, content = read_header(metadata, data_key)
    size, rest = varint(content)
    bound = binding(salt[:16], 0, bytes(16), size)
    footer = None
    if len(data_key) == 64:
        assert body[1:33] == salt
        body = read_stream(body, data_key[32:], bound, b"over")
        data_key = data_key[:32]
        salt = hkdf(data_key, salt, b"sse-proxy/1 salt" + FORMAT, 32)
    if size > 1_048_576:
        footer, body = read_footer(body[-128:], salt, data_key, bound), body[:-128]
    assert body[1:33] == salt
    plaintext = read_stream(body, data_key, bound)
    assert len(plaintext) == size
    return plaintext, entries(rest), footer


def digests(told: dict[str, Any] | None) -> Digests:
    if told is None:
        return Digests()
    return Digests(told["checksums"], bytes.fromhex(told["md5"]) if told["md5"] else None)


def sealed(case: dict[str, Any], plaintext: bytes, run: Any) -> bytes:
    """The body of a vector that gives but its hash, made by the first implementation from the vector's random bytes."""
    drawn = [bytes.fromhex(data) for data in case["random"]]
    outer = bytes.fromhex(case["outer_wrapped_key"]) if "outer_wrapped_key" in case else None
    wrapping = v1.Wrapping(
        Mode(case["mode"]),
        case["key_arn"],
        bytes.fromhex(case["wrapped_key"]),
        case["context"],
        outer_wrapped_key=outer,
    )
    _, sealer = v1.seal_single(
        bytes.fromhex(case["data_key"]),
        wrapping,
        plaintext_size=len(plaintext),
        digests=digests(case["digests"]),
        footer=lambda: digests(case["footer"]),
        random=lambda _: drawn.pop(0),
    )
    body = bytes(run(sealer, plaintext))
    assert sha256(body).hexdigest() == case["body"]["sha256"]
    return body


@pytest.mark.parametrize("case", VECTORS["single"], ids=lambda case: case["name"])
def test_single_puts(case: dict[str, Any], run: Any, fixed_random: Any) -> None:
    data_key = bytes.fromhex(case["data_key"])
    plaintext = shake_128(case["name"].encode()).digest(case["plaintext_size"])
    metadata = case["metadata"]
    if "hex" in case["body"]:
        body = bytes.fromhex(case["body"]["hex"])
    else:
        body = sealed(case, plaintext, run)
    found, known, footer = read_single(metadata, data_key, body)
    assert found == plaintext
    assert known == raw(case["digests"])
    if footer is not None:
        assert footer == raw(case["footer"])


@pytest.mark.parametrize("case", VECTORS["multipart"], ids=lambda case: case["name"])
def test_tables_of_parts(case: dict[str, Any]) -> None:
    data_key = bytes.fromhex(case["data_key"])
    salt, content = read_header(case["metadata"], data_key)
    assert content == bytes((2, 1))
    table = bytes.fromhex(case["table"])
    key = hkdf(data_key, salt, b"sse-proxy/1 part" + FORMAT, 32)
    assert hmac.digest(key, table[:-32], "sha256") == table[-32:]
    magic, object_id, kind, count, total, c, e = struct.unpack_from(">4s16sBIQBB", table)
    assert (magic, object_id, kind, count) == (b"SPT1", salt[:16], 1, len(case["parts"]))
    assert total == sum(part["plaintext_size"] for part in case["parts"])
    assert table[35 : 35 + c] == b"\2"
    assert entries(table[35 + c : 35 + c + e]) == {name: b64decode(value) for name, value in case["checksums"].items()}
    rows = table[35 + c + e : -32]
    assert len(rows) == count * (44 + 4)
    for index, part in enumerate(case["parts"]):
        number, size, part_salt, present, slot = struct.unpack_from(">HQ32sH4s", rows, index * 48)
        assert (number, size, part_salt.hex()) == (part["number"], part["plaintext_size"], part["salt"])
        assert (present, b64encode(slot).decode()) == (1, part["checksums"]["CRC32C"])


@pytest.mark.parametrize("size", [0, 1, 65_481])
def test_parts(size: int, data_key: bytes, wrapping: Any, random: Any, run: Any, pattern: Any) -> None:
    header = v1.new_multipart(data_key, wrapping, random=random)
    salt, content = read_header(headers.encode(header), data_key)
    assert content == b"\0\0"
    told = Digests({"CRC32": b64encode(b"abcd").decode()})
    sealer = v1.seal_part(v1.unlock(header, data_key), 3, size, footer=lambda: told, random=random)
    part = run(sealer, pattern(size))
    magic, number, length, attempt = struct.unpack(">4sIQ16s", part[:32])
    assert (magic, number, length, attempt) == (b"SPP1", 3, size, part[33:49])
    bound = binding(salt[:16], 3, attempt, size)
    assert read_stream(part[32:-128], data_key, bound) == pattern(size)
    assert read_footer(part[-128:], part[33:65], data_key, bound) == {"CRC32": b"abcd"}
