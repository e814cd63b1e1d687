"""Writes envelope_v1.json. Version 1 is frozen: run this only to add cases, and see that no old one changes.

python tests/vectors/make_envelope_v1.py
"""

import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256, shake_128
from pathlib import Path
from typing import Any

from proxy.envelope import header as headers
from proxy.envelope import parts, ranges, v1
from proxy.envelope.digests import NO_DIGESTS, Digests
from proxy.envelope.header import ARN_NAME, CONTEXT_NAME, KEY_NAME, Mode
from proxy.envelope.keys import Expander
from proxy.envelope.parts import Part, PartsTable

Json = dict[str, Any]
MIB = 1_048_576
LARGEST_SHOWN = 300
KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OBJECT_ARN = "arn:aws:s3:::example-bucket/some/object"
TARGET = Path(__file__).with_name("envelope_v1.json")
ABOUT = (
    "Byte strings are hex. A plaintext is SHAKE-128 of its case's name, squeezed to its size. 'random' holds the "
    "random bytes in the order in which the format draws them. Bodies longer than 300 bytes are given by their SHA-256 "
    "and their last 300 bytes. Negative cases name the step that must fail."
)


def fixed(name: str, size: int) -> bytes:
    return shake_128(name.encode()).digest(size)


class Recorder:
    """Random bytes that are always the same, remembered in order."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.drawn: list[str] = []

    def __call__(self, size: int) -> bytes:
        data = fixed(f"{self._name} random {len(self.drawn)}", size)
        self.drawn.append(data.hex())
        return data


def seal(sealer: Any, data: bytes) -> bytes:
    return bytes(sealer.update(data)) + bytes(sealer.finalize())


def shown(body: bytes) -> Json:
    if len(body) <= LARGEST_SHOWN:
        return {"size": len(body), "hex": body.hex()}
    return {"size": len(body), "sha256": sha256(body).hexdigest(), "end": body[-LARGEST_SHOWN:].hex()}


def told(digests: Digests) -> Json:
    return {"checksums": dict(digests.checksums), "md5": digests.md5.hex() if digests.md5 else None}


def checksum(algorithm: str, size: int) -> dict[str, str]:
    return {algorithm: b64encode(fixed(algorithm, size)).decode()}


def single(
    name: str,
    size: int,
    mode: Mode = Mode.KMS,
    digests: Digests = NO_DIGESTS,
    footer: Digests = NO_DIGESTS,
    context: dict[str, str] | None = None,
    bucket_key: bytes | None = None,
    customer_key: bytes | None = None,
    two_layers: bool = False,
) -> tuple[Json, bytes]:
    random = Recorder(name)
    data_key = fixed(f"{name} data key", 64 if two_layers else 32)
    wrapping = v1.Wrapping(mode, KEY_ARN, fixed(f"{name} blob", 99), context or {}, bucket_key, OBJECT_ARN)
    if customer_key is not None:
        wrapping = v1.Wrapping(mode, object_arn=OBJECT_ARN, customer_key=customer_key)
    if two_layers:
        wrapping = replace(wrapping, outer_wrapped_key=fixed(f"{name} outer blob", 99))
    header, sealer = v1.seal_single(
        data_key, wrapping, plaintext_size=size, digests=digests, footer=lambda: footer, random=random
    )
    body = seal(sealer, fixed(name, size))
    commitment, record_key = Expander(data_key, header.salt).head_keys()
    case = {
        "name": name,
        "plaintext_size": size,
        "plaintext_sha256": sha256(fixed(name, size)).hexdigest(),
        "data_key": data_key.hex(),
        "mode": str(mode),
        "key_arn": wrapping.key_arn,
        "wrapped_key": wrapping.wrapped_key.hex(),
        "context": dict(wrapping.context),
        "bucket_key": bucket_key.hex() if bucket_key else None,
        **({"customer_key": customer_key.hex()} if customer_key else {}),
        **({"outer_wrapped_key": wrapping.outer_wrapped_key.hex()} if wrapping.outer_wrapped_key else {}),
        "object_arn": OBJECT_ARN,
        "digests": told(digests),
        "footer": told(footer) if size > MIB else None,
        "random": random.drawn,
        "object_id": header.object_id.hex(),
        "commitment": commitment.hex(),
        "record_key": record_key.hex(),
        "metadata": headers.encode(header),
        "body": shown(body),
    }
    return case, body


def multipart(name: str, layout: list[tuple[int, int]], *, two_layers: bool = False) -> tuple[Json, list[bytes]]:
    random = Recorder(name)
    data_key = fixed(f"{name} data key", 64 if two_layers else 32)
    wrapping = v1.Wrapping(Mode.KMS, KEY_ARN, fixed(f"{name} blob", 99))
    if two_layers:
        outer = fixed(f"{name} outer blob", 99)
        wrapping = replace(wrapping, mode=Mode.KMS_DSSE, outer_wrapped_key=outer)
    header = v1.new_multipart(data_key, wrapping, checksum_algorithm="CRC32C", checksum_type="COMPOSITE", random=random)
    unlocked = v1.unlock(header, data_key)
    sums = Digests({"CRC32C": b64encode(fixed("part", 4)).decode()})
    accepted, stored = [], []
    for number, size in layout:
        sealer = v1.seal_part(unlocked, number, size, footer=lambda: sums, random=random)
        stored.append(seal(sealer, fixed(f"{name} {number}", size)))
        accepted.append(Part(number, size, sealer.salt, sums.checksums))
    table = PartsTable(header.object_id, accepted, checksum("CRC32C", 4), "COMPOSITE")
    case = {
        "name": name,
        "about": "The plaintext of part N is SHAKE-128 of the case's name, a space and N in decimal.",
        "data_key": data_key.hex(),
        "mode": str(wrapping.mode),
        "key_arn": KEY_ARN,
        "wrapped_key": wrapping.wrapped_key.hex(),
        **({"outer_wrapped_key": wrapping.outer_wrapped_key.hex()} if wrapping.outer_wrapped_key else {}),
        "checksum_algorithm": "CRC32C",
        "checksum_type": "COMPOSITE",
        "checksums": checksum("CRC32C", 4),
        "random": random.drawn,
        "metadata": headers.encode(header),
        "parts": [
            {
                "number": part.number,
                "plaintext_size": part.size,
                "salt": part.salt.hex(),
                "checksums": dict(part.checksums),
                "stored": shown(body),
            }
            for part, body in zip(accepted, stored, strict=True)
        ],
        "table": parts.encode(table, header, data_key).hex(),
    }
    return case, stored


def rewrapped(name: str, case: Json) -> Json:
    """A single PUT whose data key is wrapped anew under a wrapping key, for another object."""
    header = headers.decode(case["metadata"])
    assert header is not None
    random = Recorder(name)
    wrapping_key = fixed(f"{name} wrapping key", 32)
    wrapping = v1.Wrapping(
        Mode.KMS,
        KEY_ARN,
        fixed(f"{name} blob", 99),
        {"copy": "yes"},
        object_arn=f"{OBJECT_ARN}/copy",
        wrapping_key=wrapping_key,
    )
    again = v1.rewrap(header, bytes.fromhex(case["data_key"]), wrapping, random=random)
    return {
        "name": name,
        "of": case["name"],
        "mode": str(wrapping.mode),
        "key_arn": KEY_ARN,
        "wrapped_key": wrapping.wrapped_key.hex(),
        "context": dict(wrapping.context),
        "wrapping_key": wrapping_key.hex(),
        "object_arn": wrapping.object_arn,
        "random": random.drawn,
        "metadata": headers.encode(again),
    }


def flip(data: bytes, position: int) -> bytes:
    position %= len(data)
    return data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :]


def change_key(metadata: dict[str, str], change: Callable[[bytes], bytes]) -> dict[str, str]:
    value = metadata[KEY_NAME]
    raw = urlsafe_b64decode(value + "=" * (-len(value) % 4))
    return metadata | {KEY_NAME: urlsafe_b64encode(change(raw)).rstrip(b"=").decode()}


def negatives(case: Json, body: bytes, other: Json, other_body: bytes) -> Iterator[Json]:
    """Cases made from two good ones: metadata, key and body, the step that must fail, and the error."""
    metadata, key = case["metadata"], case["data_key"]

    def refused(name: str, step: str, error: str = "EnvelopeError", **change: Any) -> Json:
        made = {"metadata": metadata, "data_key": key, "body": body.hex()} | change
        return {"name": name, "step": step, "error": error, **made}

    yield refused("version 2", "decode", "UnknownVersion", metadata=change_key(metadata, lambda raw: b"\2" + raw[1:]))
    yield refused("mode 0", "decode", metadata=change_key(metadata, lambda raw: raw[:1] + b"\0" + raw[2:]))
    yield refused("unknown flag", "decode", metadata=change_key(metadata, lambda raw: raw[:1] + b"\x12" + raw[2:]))
    both = change_key(metadata, lambda raw: raw[:1] + bytes((raw[1] | 40,)) + raw[2:])
    yield refused("bucket key and wrapping key", "decode", metadata=both)
    yield refused("header cut", "decode", metadata=change_key(metadata, lambda raw: raw[:190]))
    yield refused("no key ARN", "decode", metadata={KEY_NAME: metadata[KEY_NAME], CONTEXT_NAME: metadata[CONTEXT_NAME]})
    yield refused("padded base64", "decode", metadata=metadata | {KEY_NAME: metadata[KEY_NAME] + "="})
    yield refused("unknown reserved name", "decode", metadata=metadata | {"x-amz-meta-sse-proxy-more": "1"})
    spaced = b64encode(json.dumps(case["context"]).encode()).decode()
    yield refused("context not canonical", "decode", metadata=metadata | {CONTEXT_NAME: spaced})
    yield refused("another data key", "unlock", data_key=other["data_key"])
    yield refused("commitment changed", "unlock", metadata=change_key(metadata, lambda raw: flip(raw, 34)))
    yield refused("salt changed", "unlock", metadata=change_key(metadata, lambda raw: flip(raw, 2)))
    yield refused("record changed", "unlock", metadata=change_key(metadata, lambda raw: flip(raw, -1)))
    yield refused("record nonce changed", "unlock", metadata=change_key(metadata, lambda raw: flip(raw, 166)))
    downgraded = change_key(metadata, lambda raw: raw[:1] + b"\1" + raw[2:])
    yield refused("mode downgraded to AES256", "unlock", metadata=downgraded)
    multipart_flag = change_key(metadata, lambda raw: raw[:1] + bytes((raw[1] | 4,)) + raw[2:])
    yield refused("layout changed", "unlock", metadata=multipart_flag)
    yield refused("key ARN changed", "unlock", metadata=metadata | {ARN_NAME: KEY_ARN[:-1] + "c"})
    yield refused("context changed", "unlock", metadata=metadata | {CONTEXT_NAME: b64encode(b'{"a":"b"}').decode()})
    without = {name: value for name, value in metadata.items() if name != CONTEXT_NAME}
    yield refused("context removed", "unlock", metadata=without)
    yield refused("body empty", "open", body="")
    yield refused("body without its last byte", "open", body=body[:-1].hex())
    yield refused("body with a byte more", "open", body=(body + b"\0").hex())
    yield refused("header length byte changed", "open", body=flip(body, 0).hex())
    yield refused("salt of the body changed", "open", body=flip(body, 1).hex())
    yield refused("nonce prefix of the body changed", "open", body=flip(body, 39).hex())
    yield refused("ciphertext changed", "open", body=flip(body, 40).hex())
    yield refused("tag changed", "open", body=flip(body, -1).hex())
    yield refused("body of another object", "open", body=other_body.hex())


def more_negatives(customer: Json, layered: Json, layered_body: bytes) -> Iterator[Json]:
    """The same of an object under SSE-C and of one with two layers."""

    def refused(of: Json, name: str, step: str, body: bytes = b"", **change: Any) -> Json:
        made = {"metadata": of["metadata"], "data_key": of["data_key"], "body": body.hex()} | change
        return {"name": name, "step": step, "error": "EnvelopeError", **made}

    def kind(of: Json, code: int) -> dict[str, str]:
        return change_key(of["metadata"], lambda raw: raw[:1] + bytes((code,)) + raw[2:])

    yield refused(customer, "SSE-C with an ARN", "decode", metadata=customer["metadata"] | {ARN_NAME: KEY_ARN})
    with_context = customer["metadata"] | {CONTEXT_NAME: b64encode(b'{"a":"b"}').decode()}
    yield refused(customer, "SSE-C with a context", "decode", metadata=with_context)
    yield refused(customer, "SSE-C made aws:kms", "decode", metadata=kind(customer, 2))
    yield refused(customer, "SSE-C with a bucket key", "decode", metadata=kind(customer, 24))
    made_kms = kind(customer, 2) | {ARN_NAME: KEY_ARN}
    yield refused(customer, "SSE-C made aws:kms, with an ARN", "unlock", metadata=made_kms)
    yield refused(layered, "two layers under aws:kms", "decode", metadata=kind(layered, 2 + 64))
    yield refused(layered, "two layers with a bucket key", "decode", metadata=kind(layered, 3 + 8 + 64))
    yield refused(layered, "two layers made one", "unlock", metadata=kind(layered, 3))
    data_key = layered["data_key"]
    yield refused(layered, "two layers, the inner key alone", "unlock", data_key=data_key[:64])
    yield refused(layered, "two layers, another outer key", "unlock", data_key=data_key[:64] + "00" * 32)
    yield refused(layered, "two layers, another inner key", "unlock", data_key="00" * 32 + data_key[64:])
    yield refused(layered, "two layers, keys exchanged", "unlock", data_key=data_key[64:] + data_key[:64])
    yield refused(layered, "two layers, a byte changed", "open", flip(layered_body, 60))
    yield refused(layered, "two layers, cut", "open", layered_body[:-1])


def make() -> Json:
    context = {"department": "10103.0", "ü": "✓", "Z": ""}
    short, short_body = single("short", 100, context=context)
    other, other_body = single("other", 100)
    customer, _ = single("customer key", 60, Mode.CUSTOMER, customer_key=fixed("customer key", 32))
    layered, layered_body = single("two layers", 60, Mode.KMS_DSSE, context=context, two_layers=True)
    bucket_key = fixed("bucket key", 32)
    singles = [
        short,
        other,
        single("empty", 0)[0],
        single("one byte, SSE-S3", 1, Mode.S3, Digests(checksum("CRC64NVME", 8), fixed("md5", 16)))[0],
        single("bucket key", 60, bucket_key=bucket_key, context=context)[0],
        single("dsse", 60, Mode.KMS_DSSE, Digests(checksum("SHA512", 64)))[0],
        single("one full segment", ranges.FIRST_PLAINTEXT)[0],
        single("a second segment of one byte", ranges.FIRST_PLAINTEXT + 1)[0],
        single("three segments", 131_001)[0],
        single("largest without a footer", MIB)[0],
        single("footer", MIB + 1, footer=Digests(checksum("SHA256", 32), fixed("md5", 16)))[0],
        single("empty footer", MIB + 1)[0],
        customer,
        layered,
        single("two layers, three segments", 131_001, Mode.KMS_DSSE, two_layers=True)[0],
        single("two layers, footer", MIB + 1, Mode.KMS_DSSE, footer=Digests(checksum("MD5", 16)), two_layers=True)[0],
    ]
    return {
        "about": ABOUT,
        "sizes": [
            {"plaintext": size, "single": ranges.stored_size(size), "part": ranges.part_stored_size(size)}
            for size in (0, 1, 65_479, 65_480, 65_481, 131_000, 131_001, MIB - 1, MIB, MIB + 1, 8 * MIB, 5 << 30)
        ],
        "single": singles,
        "rewrapped": [rewrapped("rewrapped", short)],
        "multipart": [
            multipart("multipart", [(1, 65_481), (2, 0), (7, 10)])[0],
            multipart("multipart, two layers", [(1, 65_481), (2, 0), (7, 10)], two_layers=True)[0],
        ],
        "negative": [
            *negatives(short, short_body, other, other_body),
            *more_negatives(customer, layered, layered_body),
        ],
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(make(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
