"""The entries that checksums are written down as."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.envelope import digests
from proxy.envelope.digests import CODES, Digests
from proxy.envelope.errors import EnvelopeError

values = st.dictionaries(st.sampled_from(sorted(CODES)), st.binary(min_size=64, max_size=64)).map(
    lambda drawn: {name: b64encode(data[: CODES[name][1]]).decode() for name, data in drawn.items()}
)
several = st.builds(Digests, values, st.none() | st.binary(min_size=16, max_size=16))


@given(several)
def test_what_was_written_is_read(content: Digests) -> None:
    encoded = digests.encode(content)
    assert digests.decode(encoded) == content
    assert digests.decode(encoded + bytes(9), padded=True) == content


def test_entries_are_ordered_by_code() -> None:
    content = Digests({"SHA1": b64encode(b"s" * 20).decode(), "CRC32": b64encode(b"c" * 4).decode()}, b"m" * 16)
    assert digests.encode(content) == b"\x01cccc\x04" + b"s" * 20 + b"\x40" + b"m" * 16


@given(st.binary(max_size=80))
def test_each_content_has_one_spelling(data: bytes) -> None:
    try:
        content = digests.decode(data)
    except EnvelopeError:
        return
    assert digests.encode(content) == data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x01ccc", id="cut"),
        pytest.param(b"\x0bxxxxxxxx", id="unknown code"),
        pytest.param(b"\x01cccc\x01cccc", id="twice"),
        pytest.param(b"\x02cccc\x01cccc", id="out of order"),
        pytest.param(b"\x01cccc\x00", id="padding where none may be"),
    ],
)
def test_damaged_entries_are_refused(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        digests.decode(data)


def test_padding_is_zeros_to_the_end() -> None:
    assert digests.decode(bytes(8), padded=True) == Digests()
    with pytest.raises(EnvelopeError):
        digests.decode(b"\x01cccc\x00\x00\x01", padded=True)


@pytest.mark.parametrize(
    "content",
    [
        Digests({"CRC16": "AAA="}),
        Digests({"CRC32": "AAA="}),
        Digests({"CRC32": "AAAAAA==="}),
        Digests({"CRC32": "not base64!"}),
        Digests(md5=b"short"),
    ],
)
def test_what_is_no_digest_is_refused(content: Digests) -> None:
    with pytest.raises(ValueError):
        digests.encode(content)
