"""The committed vectors of version 1: they are made byte for byte again, opened, and refused where they must be."""

import json
from hashlib import sha256, shake_128
from pathlib import Path
from typing import Any

import pytest

from proxy.envelope import header as headers
from proxy.envelope import parts, ranges, v1
from proxy.envelope.digests import Digests
from proxy.envelope.errors import EnvelopeError, UnknownVersion
from proxy.envelope.header import Mode
from proxy.envelope.keys import Expander
from proxy.envelope.parts import Part, PartsTable

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "envelope_v1.json").read_text("utf-8"))
Json = dict[str, Any]


def cases(kind: str) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in VECTORS[kind]])


class Replay:
    """The random bytes of a vector, in their order."""

    def __init__(self, drawn: list[str]) -> None:
        self._drawn = [bytes.fromhex(data) for data in drawn]

    def __call__(self, size: int) -> bytes:
        data = self._drawn.pop(0)
        assert len(data) == size
        return data

    @property
    def used_up(self) -> bool:
        return not self._drawn


def digests(told: Json | None) -> Digests:
    if told is None:
        return Digests()
    return Digests(told["checksums"], bytes.fromhex(told["md5"]) if told["md5"] else None)


def assert_shown(body: bytes, expected: Json) -> None:
    assert len(body) == expected["size"]
    if "hex" in expected:
        assert body.hex() == expected["hex"]
    else:
        assert sha256(body).hexdigest() == expected["sha256"]
        assert body.hex().endswith(expected["end"])


def outer_wrapped(case: Json) -> bytes | None:
    return bytes.fromhex(case["outer_wrapped_key"]) if "outer_wrapped_key" in case else None


def made_again(case: Json, run: Any) -> tuple[headers.Header, bytes, bytes]:
    """The case's header, body and plaintext, from its random bytes."""
    plaintext = shake_128(case["name"].encode()).digest(case["plaintext_size"])
    random = Replay(case["random"])
    wrapping = v1.Wrapping(
        Mode(case["mode"]),
        case["key_arn"],
        bytes.fromhex(case["wrapped_key"]),
        case["context"],
        bytes.fromhex(case["bucket_key"]) if case["bucket_key"] else None,
        case["object_arn"],
        customer_key=bytes.fromhex(case["customer_key"]) if "customer_key" in case else None,
        outer_wrapped_key=outer_wrapped(case),
    )
    header, sealer = v1.seal_single(
        bytes.fromhex(case["data_key"]),
        wrapping,
        plaintext_size=len(plaintext),
        digests=digests(case["digests"]),
        footer=lambda: digests(case["footer"]),
        random=random,
    )
    assert random.used_up
    return header, run(sealer, plaintext), plaintext


@cases("single")
def test_single_puts_are_made_again(case: Json, run: Any) -> None:
    header, body, plaintext = made_again(case, run)
    assert sha256(plaintext).hexdigest() == case["plaintext_sha256"]
    assert headers.encode(header) == case["metadata"]
    assert header.object_id.hex() == case["object_id"]
    assert [key.hex() for key in Expander(bytes.fromhex(case["data_key"]), header.salt).head_keys()] == [
        case["commitment"],
        case["record_key"],
    ]
    assert_shown(body, case["body"])


@cases("single")
def test_single_puts_are_opened(case: Json, run: Any) -> None:
    _, body, plaintext = made_again(case, run)
    header = headers.decode(case["metadata"])
    assert header is not None
    data_key = bytes.fromhex(case["data_key"])
    if case["bucket_key"]:
        assert v1.unwrap_with_bucket_key(header, bytes.fromhex(case["bucket_key"]), case["object_arn"]) == data_key
    if "customer_key" in case:
        customer_key = bytes.fromhex(case["customer_key"])
        assert v1.unwrap_with_customer_key(header, customer_key, case["object_arn"]) == data_key
    unlocked = v1.unlock(header, data_key)
    assert unlocked.digests == digests(case["digests"])
    assert run(v1.open_single(unlocked), body) == plaintext
    if case["footer"]:
        where = ranges.footer_range(len(plaintext), header.layers)
        assert where is not None
        assert v1.open_footer(unlocked, body[where.start :]) == digests(case["footer"])


@cases("rewrapped")
def test_keys_are_wrapped_anew(case: Json, run: Any) -> None:
    first = next(each for each in VECTORS["single"] if each["name"] == case["of"])
    header, body, plaintext = made_again(first, run)
    data_key, wrapping_key = bytes.fromhex(first["data_key"]), bytes.fromhex(case["wrapping_key"])
    random = Replay(case["random"])
    wrapping = v1.Wrapping(
        Mode(case["mode"]),
        case["key_arn"],
        bytes.fromhex(case["wrapped_key"]),
        case["context"],
        object_arn=case["object_arn"],
        wrapping_key=wrapping_key,
    )
    assert headers.encode(v1.rewrap(header, data_key, wrapping, random=random)) == case["metadata"]
    assert random.used_up
    again = headers.decode(case["metadata"])
    assert again is not None
    assert again.bucket_wrapped_key is None
    assert v1.unwrap_with_wrapping_key(again, wrapping_key, case["object_arn"]) == data_key
    assert run(v1.open_single(v1.unlock(again, data_key)), body) == plaintext


@cases("multipart")
def test_multipart_objects(case: Json, run: Any) -> None:
    data_key = bytes.fromhex(case["data_key"])
    random = Replay(case["random"])
    wrapping = v1.Wrapping(
        Mode(case["mode"]),
        case["key_arn"],
        bytes.fromhex(case["wrapped_key"]),
        outer_wrapped_key=outer_wrapped(case),
    )
    header = v1.new_multipart(
        data_key,
        wrapping,
        checksum_algorithm=case["checksum_algorithm"],
        checksum_type=case["checksum_type"],
        random=random,
    )
    assert headers.encode(header) == case["metadata"]
    unlocked = v1.unlock(header, data_key)
    stored, plaintext, accepted = b"", b"", []
    for part in case["parts"]:
        number, size, told = part["number"], part["plaintext_size"], Digests(part["checksums"])
        data = shake_128(f"{case['name']} {number}".encode()).digest(size)
        sealer = v1.seal_part(unlocked, number, size, footer=lambda told=told: told, random=random)
        body = run(sealer, data)
        assert_shown(body, part["stored"])
        assert sealer.salt.hex() == part["salt"]
        accepted.append(Part(number, size, sealer.salt, part["checksums"]))
        stored, plaintext = stored + body, plaintext + data
    assert random.used_up
    table = PartsTable(header.object_id, accepted, case["checksums"], case["checksum_type"])
    assert parts.encode(table, header, data_key).hex() == case["table"]
    found = parts.verify(bytes.fromhex(case["table"]), header, data_key)
    assert found == table
    plan = ranges.plan_all_parts(found.sizes, header.layers)
    assert run(v1.open_parts(unlocked, found, plan), stored) == plaintext


@pytest.mark.parametrize("row", VECTORS["sizes"], ids=lambda row: row["plaintext"])
def test_sizes(row: dict[str, int]) -> None:
    assert ranges.stored_size(row["plaintext"]) == row["single"]
    assert ranges.plaintext_size(row["single"]) == row["plaintext"]
    assert ranges.part_stored_size(row["plaintext"]) == row["part"]


@cases("negative")
def test_what_must_be_refused(case: Json, run: Any) -> None:
    error = {"EnvelopeError": EnvelopeError, "UnknownVersion": UnknownVersion}[case["error"]]
    reached = ""

    def all_steps() -> None:
        nonlocal reached
        reached = "decode"
        header = headers.decode(case["metadata"])
        assert header is not None
        reached = "unlock"
        unlocked = v1.unlock(header, bytes.fromhex(case["data_key"]))
        reached = "open"
        run(v1.open_single(unlocked), bytes.fromhex(case["body"]))

    with pytest.raises(EnvelopeError) as caught:
        all_steps()
    assert caught.type is error
    assert reached == case["step"]


def test_the_negative_vectors_come_from_a_good_one(run: Any) -> None:
    good = next(case for case in VECTORS["single"] if case["name"] == "short")
    header = headers.decode(good["metadata"])
    assert header is not None
    unlocked = v1.unlock(header, bytes.fromhex(good["data_key"]))
    assert run(v1.open_single(unlocked), bytes.fromhex(good["body"]["hex"])) == shake_128(b"short").digest(100)
    assert {case["step"] for case in VECTORS["negative"]} == {"decode", "unlock", "open"}
