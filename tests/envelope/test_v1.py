"""Single PUTs from end to end, and everything that must be refused."""

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.envelope import header as headers
from proxy.envelope import ranges, v1
from proxy.envelope.digests import Digests
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Layout, Mode

MIB = 1_048_576
SIZES = [0, 1, 65_479, 65_480, 65_481, 131_000, 131_001, MIB - 1, MIB, MIB + 1]
CRC = {"CRC64NVME": b64encode(b"checksum").decode()}
SHA = {"SHA256": b64encode(bytes(32)).decode()}
few = settings(max_examples=40, deadline=None)
OBJECT_ARN = "arn:aws:s3:::bucket/a/key"
BUCKET_KEY = bytes(range(100, 132))


@pytest.mark.parametrize("size", SIZES)
def test_there_and_back(size: int, data_key: bytes, wrapping: Any, random: Any, run: Any, pattern: Any) -> None:
    data = pattern(size)
    told = Digests(CRC, b"m" * 16)
    header, sealer = v1.seal_single(data_key, wrapping, plaintext_size=size, digests=told, random=random)
    assert sealer.stored_size == ranges.stored_size(size)
    body = run(sealer, data, range(0, size, 262_144))
    assert len(body) == sealer.stored_size
    assert data[:64] not in body or not data
    found = headers.decode(headers.encode(header))
    assert found == header
    unlocked = v1.unlock(found, data_key)
    assert (unlocked.plaintext_size, unlocked.digests) == (size, told)
    opener = v1.open_single(unlocked)
    assert opener.length == size
    assert run(opener, body, range(0, len(body), 262_144)) == data


@pytest.mark.parametrize("size", [0, 1, 4096, 65_480])
def test_a_short_body_is_opened_at_once(
    size: int, data_key: bytes, wrapping: Any, random: Any, run: Any, pattern: Any
) -> None:
    header, sealer = v1.seal_single(data_key, wrapping, plaintext_size=size, random=random)
    body = bytes(run(sealer, pattern(size), []))
    unlocked = v1.unlock(header, data_key)
    assert v1.open_short(unlocked, body) == pattern(size)
    changed = [body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] for at in {0, 1, 39, 40, size + 39, size + 40, -2}]
    for wrong in (b"", body[:-1], body + b"x", body[:40], *changed):
        with pytest.raises(EnvelopeError):
            v1.open_short(unlocked, wrong)
        with pytest.raises(EnvelopeError):
            run(v1.open_single(unlocked), wrong, [])


def test_other_bodies_are_not_opened_at_once(data_key: bytes, wrapping: Any, random: Any) -> None:
    long = v1.seal_single(data_key, wrapping, plaintext_size=65_481, random=random)[0]
    assert v1.open_short(v1.unlock(long, data_key), b"") is None
    multipart = v1.new_multipart(data_key, wrapping, random=random)
    assert v1.open_short(v1.unlock(multipart, data_key), b"") is None


@pytest.mark.parametrize("size", SIZES)
def test_the_footer_is_asked_for_at_the_end_and_only_of_long_bodies(
    size: int, data_key: bytes, wrapping: Any, random: Any, run: Any, pattern: Any
) -> None:
    asked: list[str] = []

    def content() -> Digests:
        asked.append("footer")
        return Digests(SHA, b"5" * 16)

    header, sealer = v1.seal_single(data_key, wrapping, plaintext_size=size, footer=content, random=random)
    start = bytes(sealer.update(pattern(size)))
    assert asked == []
    body = start + bytes(sealer.finalize())
    assert asked == (["footer"] if size > MIB else [])
    where = ranges.footer_range(size)
    if where is not None:
        unlocked = v1.unlock(header, data_key)
        assert where.end is not None
        assert where.end + 1 == len(body)
        assert v1.open_footer(unlocked, body[where.start :]) == Digests(SHA, b"5" * 16)


def test_a_header_that_is_resent_has_a_fresh_salt(data_key: bytes, wrapping: Any, random: Any) -> None:
    made = [v1.seal_single(data_key, wrapping, plaintext_size=1, random=random)[0] for _ in range(3)]
    assert len({header.salt for header in made}) == 3
    assert len({header.commitment for header in made}) == 3


@pytest.fixture(scope="module")
def two_mib(data_key: bytes, wrapping: Any, fixed_random: Any, run: Any, pattern: Any) -> tuple[Any, bytes, bytes]:
    """An object of 2,000,000 bytes with a footer: unlocked, its body, its plaintext."""
    data = pattern(2_000_000)
    header, sealer = v1.seal_single(data_key, wrapping, plaintext_size=len(data), random=fixed_random(b"two"))
    return v1.unlock(header, data_key), run(sealer, data), data


edges = st.sampled_from([0, 1, 65_479, 65_480, 65_481, 131_000, 1_999_999]) | st.integers(0, 1_999_999)


@few
@given(left=edges, right=edges, cuts=st.lists(st.integers(0, 2_000_000), max_size=4), known=st.booleans())
def test_ranges_are_slices(left: int, right: int, cuts: list[int], known: bool, two_mib: Any, run: Any) -> None:
    unlocked, body, data = two_mib
    first, last = sorted((left, right))
    asked = ranges.plan(first, last, size=len(data) if known else None)
    end = len(body) - 1 if asked.end is None else min(asked.end, len(body) - 1)
    window = ranges.window(first, last, size=len(data), start=asked.start, end=end)
    opener = v1.open_range(unlocked, window)
    assert opener.length == last - first + 1
    assert run(opener, body[asked.start : end + 1], cuts) == data[first : last + 1]


@few
@given(length=st.integers(1, 2_100_000) | edges.filter(bool))
def test_suffixes_are_slices(length: int, two_mib: Any, run: Any) -> None:
    unlocked, body, data = two_mib
    asked = ranges.plan_suffix(length)
    start = max(0, len(body) - asked.suffix)
    first = max(0, len(data) - length)
    window = ranges.window(first, len(data) - 1, size=len(data), start=start, end=len(body) - 1)
    assert run(v1.open_range(unlocked, window), body[start:], range(0, len(body), 100_000)) == data[first:]


@few
@given(data=st.data())
def test_a_range_of_tampered_bytes_is_refused(data: st.DataObject, two_mib: Any, run: Any) -> None:
    unlocked, body, plaintext = two_mib
    first, last = sorted((data.draw(edges), data.draw(edges)))
    asked = ranges.plan(first, last, size=len(plaintext))
    assert asked.end is not None
    window = ranges.window(first, last, size=len(plaintext), start=asked.start, end=asked.end)
    answer = bytearray(body[asked.start : asked.end + 1])
    answer[data.draw(st.integers(0, len(answer) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(EnvelopeError):
        run(v1.open_range(unlocked, window), answer)


@few
@given(data=st.data())
def test_a_tampered_body_with_a_footer_is_refused(data: st.DataObject, two_mib: Any, run: Any) -> None:
    unlocked, body, _ = two_mib
    position = data.draw(st.integers(0, len(body) - 1) | st.integers(len(body) - 128, len(body) - 1))
    tampered = bytearray(body)
    tampered[position] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (tampered, body[:position], body[:position] + body[position + 1 :], body + b"\0"):
        with pytest.raises(EnvelopeError):
            run(v1.open_single(unlocked), damaged, range(0, len(body), 262_144))


def test_the_last_segment_waits_for_a_good_footer(two_mib: Any) -> None:
    unlocked, body, data = two_mib
    opener = v1.open_single(unlocked)
    opened = bytes(opener.update(body[:-1]))
    assert len(data) - len(opened) == (2_000_000 - 65_480) % 65_520
    with pytest.raises(EnvelopeError, match="footer"):
        opener.update(bytes((body[-1] ^ 1,)))


def small(data_key: bytes, wrapping: Any, random: Any, run: Any, data: bytes = b"data") -> tuple[Any, bytes]:
    header, sealer = v1.seal_single(data_key, wrapping, plaintext_size=len(data), random=random)
    return header, run(sealer, data)


def test_another_objects_body_under_the_same_key_is_refused(
    data_key: bytes, wrapping: Any, random: Any, run: Any
) -> None:
    header, _ = small(data_key, wrapping, random, run)
    _, body = small(data_key, wrapping, random, run)
    with pytest.raises(EnvelopeError):
        run(v1.open_single(v1.unlock(header, data_key)), body)
    grafted = header.salt.join((b"\x28", header.salt[25:])) + body[40:]
    with pytest.raises(EnvelopeError):
        run(v1.open_single(v1.unlock(header, data_key)), grafted)


def test_the_bodys_salt_must_be_the_headers(data_key: bytes, wrapping: Any, random: Any, run: Any) -> None:
    header, body = small(data_key, wrapping, random, run)
    for position in range(40):
        tampered = bytearray(body)
        tampered[position] ^= 1
        with pytest.raises(EnvelopeError):
            run(v1.open_single(v1.unlock(header, data_key)), tampered)


@pytest.mark.parametrize("key", [bytes(32), bytes(31), b"", bytes(33)])
def test_another_data_key_is_refused(key: bytes, data_key: bytes, wrapping: Any, random: Any, run: Any) -> None:
    header, _ = small(data_key, wrapping, random, run)
    with pytest.raises(EnvelopeError, match="data key"):
        v1.unlock(header, key)


@pytest.mark.parametrize("field", ["salt", "commitment", "record", "key_arn", "context", "mode", "layout", "flag"])
def test_nothing_in_the_header_can_be_exchanged(
    field: str, data_key: bytes, wrapping: Any, random: Any, run: Any
) -> None:
    header, _ = small(data_key, wrapping, random, run)
    other, _ = small(data_key, wrapping, random, run)
    change: dict[str, Any] = {
        "salt": {"salt": other.salt},
        "commitment": {"commitment": other.commitment},
        "record": {"record": other.record},
        "key_arn": {"key_arn": header.key_arn + "0"},
        "context": {"context": {**header.context, "a": "b"}},
        "mode": {"mode": Mode.S3},
        "layout": {"layout": Layout.MULTIPART},
        "flag": {"bucket_wrapped_key": bytes(72)},
    }
    v1.unlock(header, data_key)
    with pytest.raises(EnvelopeError):
        v1.unlock(replace(header, **change[field]), data_key)


@few
@given(data=st.data())
def test_every_bit_of_the_metadata_counts(
    data: st.DataObject, data_key: bytes, wrapping: Any, fixed_random: Any, run: Any
) -> None:
    header, _ = small(data_key, wrapping, fixed_random(b"metadata"), run)
    metadata = headers.encode(header)
    name = data.draw(st.sampled_from(sorted(metadata)))
    value = bytearray(metadata[name], "ascii")
    # The blob is the key service's to check: a changed one does not give this data key, and the wrapped key's bytes
    # are not the record's business.
    position = data.draw(st.integers(0, len(value) - 1))
    value[position] ^= 1 << data.draw(st.integers(0, 6))
    try:
        found = headers.decode(metadata | {name: value.decode("ascii")})
        assert found is not None
        v1.unlock(found, data_key)
    except EnvelopeError:
        return
    assert found == replace(header, wrapped_key=found.wrapped_key)


def with_bucket_key(wrapping: v1.Wrapping, **change: Any) -> v1.Wrapping:
    return replace(wrapping, bucket_key=BUCKET_KEY, object_arn=OBJECT_ARN, **change)


def test_a_bucket_key_gives_the_data_key_back(data_key: bytes, wrapping: Any, random: Any, run: Any) -> None:
    header, body = small(data_key, with_bucket_key(wrapping), random, run)
    assert header.bucket_wrapped_key is not None
    assert len(header.bucket_wrapped_key) == 72
    found = headers.decode(headers.encode(header))
    assert found == header
    key = v1.unwrap_with_bucket_key(found, BUCKET_KEY, OBJECT_ARN)
    assert key == data_key
    assert run(v1.open_single(v1.unlock(found, key)), body) == b"data"


@pytest.mark.parametrize("changed", ["bucket key", "object", "context", "object id", "wrapped key", "size"])
def test_a_bucket_key_wrap_is_bound_to_its_place(
    changed: str, data_key: bytes, wrapping: Any, random: Any, run: Any
) -> None:
    header, _ = small(data_key, with_bucket_key(wrapping), random, run)
    other, _ = small(data_key, with_bucket_key(wrapping), random, run)
    bucket_key, arn = BUCKET_KEY, OBJECT_ARN
    if changed == "bucket key":
        bucket_key = bytes(32)
    elif changed == "object":
        arn = "arn:aws:s3:::bucket/another/key"
    elif changed == "context":
        header = replace(header, context={})
    elif changed == "object id":
        header = replace(header, salt=other.salt)
    elif changed == "size":
        bucket_key = bytes(31)
    else:
        header = replace(header, bucket_wrapped_key=other.bucket_wrapped_key)
    with pytest.raises(EnvelopeError, match="bucket key"):
        v1.unwrap_with_bucket_key(header, bucket_key, arn)


def test_an_object_without_a_bucket_key_is_not_unwrapped_with_one(
    data_key: bytes, wrapping: Any, random: Any, run: Any
) -> None:
    header, _ = small(data_key, wrapping, random, run)
    with pytest.raises(EnvelopeError, match="uses no bucket key"):
        v1.unwrap_with_bucket_key(header, BUCKET_KEY, OBJECT_ARN)


CUSTOMER = v1.Wrapping(Mode.CUSTOMER, object_arn=OBJECT_ARN, customer_key=b"c" * 32)


def test_a_customers_key_round_trip(data_key: bytes, random: Any, run: Any) -> None:
    header, body = small(data_key, CUSTOMER, random, run)
    found = headers.decode(headers.encode(header))
    assert found == header
    key = v1.unwrap_with_customer_key(found, b"c" * 32, OBJECT_ARN)
    assert key == data_key
    assert run(v1.open_single(v1.unlock(found, key)), body) == b"data"
    again, _ = small(data_key, CUSTOMER, random, run)
    assert again.wrapped_key != header.wrapped_key


@pytest.mark.parametrize("changed", ["key", "key size", "object", "object id", "salt", "wrapped key", "mode"])
def test_a_customers_wrap_is_bound_to_its_place(
    changed: str, data_key: bytes, wrapping: Any, random: Any, run: Any
) -> None:
    header, _ = small(data_key, CUSTOMER, random, run)
    key, arn = b"c" * 32, OBJECT_ARN
    if changed == "key":
        key = b"d" * 32
    elif changed == "key size":
        key = b"c" * 31
    elif changed == "object":
        arn = "arn:aws:s3:::bucket/another/key"
    elif changed == "object id":
        header = replace(header, salt=bytes(16) + header.salt[16:])
    elif changed == "salt":
        header = replace(header, salt=header.salt[:16] + bytes(16))
    elif changed == "wrapped key":
        header = replace(header, wrapped_key=header.wrapped_key[:-1] + bytes((header.wrapped_key[-1] ^ 1,)))
    else:
        header, _ = small(data_key, wrapping, random, run)
    with pytest.raises(EnvelopeError, match="customer's key"):
        v1.unwrap_with_customer_key(header, key, arn)


def test_a_customers_key_and_its_mode_go_together(data_key: bytes, wrapping: Any, random: Any, run: Any) -> None:
    for bad in (replace(CUSTOMER, customer_key=None), replace(wrapping, customer_key=b"c" * 32)):
        with pytest.raises(ValueError, match="SSE-C"):
            small(data_key, bad, random, run)


def test_rewrapping_to_and_from_a_customers_key(data_key: bytes, wrapping: Any, random: Any, run: Any) -> None:
    header, body = small(data_key, wrapping, random, run)
    customers = v1.rewrap(header, data_key, CUSTOMER, random=random)
    assert (customers.key_arn, customers.context, customers.salt) == ("", {}, header.salt)
    assert v1.unwrap_with_customer_key(customers, b"c" * 32, OBJECT_ARN) == data_key
    back = v1.rewrap(customers, data_key, wrapping, random=random)
    for each in (customers, back):
        assert run(v1.open_single(v1.unlock(each, data_key)), body) == b"data"


def test_rewrapping_leaves_the_data_alone(data_key: bytes, wrapping: Any, random: Any, run: Any) -> None:
    told = Digests(CRC)
    header, sealer = v1.seal_single(data_key, wrapping, plaintext_size=4, digests=told, random=random)
    body = run(sealer, b"data")
    new = v1.Wrapping(Mode.KMS_DSSE, "arn:aws:kms:us-east-1:1:key/2", b"another blob", {"k": "v"})
    again = v1.rewrap(header, data_key, new, random=random)
    assert (again.mode, again.key_arn, again.wrapped_key) == (Mode.KMS_DSSE, new.key_arn, b"another blob")
    assert (again.salt, again.commitment) == (header.salt, header.commitment)
    assert again.record != header.record
    assert again.record[:12] != header.record[:12]
    unlocked = v1.unlock(again, data_key)
    assert (unlocked.plaintext_size, unlocked.digests) == (4, told)
    assert run(v1.open_single(unlocked), body) == b"data"
    moved = v1.rewrap(again, data_key, with_bucket_key(wrapping), random=random)
    assert v1.unwrap_with_bucket_key(moved, BUCKET_KEY, OBJECT_ARN) == data_key


def test_a_wrapping_key_is_bound_to_its_object(data_key: bytes, wrapping: Any, random: Any, run: Any) -> None:
    header, _ = small(data_key, wrapping, random, run)
    with pytest.raises(EnvelopeError, match="uses no wrapping key"):
        v1.unwrap_with_wrapping_key(header, BUCKET_KEY, OBJECT_ARN)
    key = b"w" * 32
    again = v1.rewrap(header, data_key, replace(wrapping, wrapping_key=key, object_arn=OBJECT_ARN), random=random)
    assert v1.unwrap_with_wrapping_key(again, key, OBJECT_ARN) == data_key
    with pytest.raises(EnvelopeError, match="uses no bucket key"):
        v1.unwrap_with_bucket_key(again, key, OBJECT_ARN)
    for wrong_key, arn in ((bytes(32), OBJECT_ARN), (key, OBJECT_ARN + "2"), (b"short", OBJECT_ARN)):
        with pytest.raises(EnvelopeError):
            v1.unwrap_with_wrapping_key(again, wrong_key, arn)
    posing = replace(again, rewrapped_key=None, bucket_wrapped_key=again.rewrapped_key)
    with pytest.raises(EnvelopeError, match="changed"):
        v1.unlock(posing, data_key)


def test_rewrapping_wants_the_right_key(data_key: bytes, wrapping: Any, random: Any, run: Any) -> None:
    header, _ = small(data_key, wrapping, random, run)
    with pytest.raises(EnvelopeError, match="data key"):
        v1.rewrap(header, bytes(32), wrapping, random=random)
    with pytest.raises(EnvelopeError, match="changed"):
        v1.rewrap(replace(header, mode=Mode.S3), data_key, wrapping, random=random)


def test_footers_of_others_are_refused(data_key: bytes, wrapping: Any, random: Any, run: Any, two_mib: Any) -> None:
    _, body, data = two_mib
    header, _ = v1.seal_single(data_key, wrapping, plaintext_size=len(data), random=random)
    with pytest.raises(EnvelopeError, match="footer"):
        v1.open_footer(v1.unlock(header, data_key), body[-128:])
    with pytest.raises(EnvelopeError, match="size"):
        v1.open_footer(v1.unlock(header, data_key), body[-127:])


def test_a_footer_has_room_for_what_aws_can_ask_for(two_mib: Any, data_key: bytes, wrapping: Any, random: Any) -> None:
    content = Digests({"SHA512": b64encode(bytes(64)).decode(), **CRC}, b"m" * 16)
    header, sealer = v1.seal_single(data_key, wrapping, plaintext_size=MIB + 1, footer=lambda: content, random=random)
    sealer.update(bytes(MIB + 1))
    assert v1.open_footer(v1.unlock(header, data_key), bytes(sealer.finalize())[-128:]) == content
    full = Digests({"SHA512": b64encode(bytes(64)).decode(), **SHA}, b"m" * 16)
    _, sealer = v1.seal_single(data_key, wrapping, plaintext_size=MIB + 1, footer=lambda: full, random=random)
    sealer.update(bytes(MIB + 1))
    with pytest.raises(ValueError, match="do not fit"):
        sealer.finalize()


def test_arguments_out_of_form_are_refused(data_key: bytes, wrapping: Any, random: Any) -> None:
    with pytest.raises(ValueError, match="not negative"):
        v1.seal_single(data_key, wrapping, plaintext_size=-1, random=random)
    with pytest.raises(ValueError, match="32 bytes"):
        v1.seal_single(bytes(16), wrapping, plaintext_size=1, random=random)
    with pytest.raises(ValueError, match="checksum"):
        v1.seal_single(data_key, wrapping, plaintext_size=1, digests=Digests({"CRC9": ""}), random=random)


def test_secrets_are_not_shown(data_key: bytes, wrapping: Any, random: Any, run: Any) -> None:
    header, _ = small(data_key, with_bucket_key(wrapping), random, run)
    assert "cccc" not in repr(CUSTOMER)
    for shown in (repr(with_bucket_key(wrapping)), repr(v1.unlock(header, data_key))):
        assert repr(data_key) not in shown
        assert repr(BUCKET_KEY) not in shown
        assert data_key.hex() not in shown


SMALL, AWS = 99, 184
LONG_ARN = "arn:aws:kms:ap-northeast-1:123456789012:key/mrk-0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("mode", "bucket_key", "blob", "algorithm", "digest", "md5", "expected"),
    [
        (Mode.S3, False, SMALL, "CRC64NVME", 8, True, 406),
        (Mode.S3, False, SMALL, "SHA512", 64, True, 481),
        (Mode.KMS, False, SMALL, "CRC64NVME", 8, False, 384),
        (Mode.KMS, False, SMALL, "SHA512", 64, False, 458),
        (Mode.KMS, True, SMALL, "CRC64NVME", 8, False, 480),
        (Mode.KMS, True, SMALL, "SHA256", 32, False, 512),
        (Mode.KMS, True, SMALL, "SHA512", 64, False, 554),
        (Mode.KMS, False, AWS, "CRC64NVME", 8, False, 498),
        (Mode.KMS, False, AWS, "SHA256", 32, False, 530),
        (Mode.KMS, True, AWS, "CRC64NVME", 8, False, 594),
        (Mode.KMS, True, AWS, "SHA256", 32, False, 626),
        (Mode.KMS, False, SMALL, "SHA256", 32, False, 416),
        (Mode.S3, False, SMALL, "SHA256", 32, True, 438),
        (Mode.KMS, False, AWS, "SHA512", 64, False, 573),
        (Mode.KMS, True, AWS, "SHA512", 64, False, 669),
    ],
)
def test_the_size_of_the_metadata(
    mode: Mode, bucket_key: bool, blob: int, algorithm: str, digest: int, md5: bool, expected: int,
    data_key: bytes, random: Any,
) -> None:  # fmt: skip
    """As S3 counts it: names after ``x-amz-meta-`` and values."""
    told = Digests({algorithm: b64encode(bytes(digest)).decode()}, bytes(16) if md5 else None)
    wrapping = v1.Wrapping(mode, LONG_ARN, bytes(blob), {}, BUCKET_KEY if bucket_key else None, OBJECT_ARN)
    header, _ = v1.seal_single(data_key, wrapping, plaintext_size=5 * 1024**3, digests=told, random=random)
    metadata = headers.encode(header)
    assert sum(len(name.removeprefix("x-amz-meta-")) + len(value) for name, value in metadata.items()) == expected
