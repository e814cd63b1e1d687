"""The header in user metadata: spelling, limits, damage."""

from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.envelope import header
from proxy.envelope.errors import EnvelopeError, UnknownVersion
from proxy.envelope.header import ARN_NAME, CONTEXT_NAME, KEY_NAME, Header, Layout, Mode

PLAIN = Header(
    mode=Mode.KMS,
    layout=Layout.SINGLE,
    key_arn="arn:aws:kms:eu-west-1:123456789012:key/1",
    wrapped_key=b"w" * 99,
    bucket_wrapped_key=None,
    salt=bytes(range(32)),
    commitment=b"c" * 32,
    record=b"r" * 40,
)

CUSTOMER = replace(PLAIN, mode=Mode.CUSTOMER, key_arn="", wrapped_key=b"w" * 72)

with_customer_keys = st.builds(
    Header,
    mode=st.just(Mode.CUSTOMER),
    layout=st.sampled_from(Layout),
    key_arn=st.just(""),
    wrapped_key=st.binary(min_size=72, max_size=72),
    bucket_wrapped_key=st.none(),
    salt=st.binary(min_size=32, max_size=32),
    commitment=st.binary(min_size=32, max_size=32),
    record=st.binary(min_size=28, max_size=100),
)

headers = st.builds(
    Header,
    mode=st.sampled_from([mode for mode in Mode if mode is not Mode.CUSTOMER]),
    layout=st.sampled_from(Layout),
    key_arn=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
    wrapped_key=st.binary(min_size=1, max_size=300),
    bucket_wrapped_key=st.none() | st.binary(min_size=72, max_size=72),
    salt=st.binary(min_size=32, max_size=32),
    commitment=st.binary(min_size=32, max_size=32),
    record=st.binary(min_size=28, max_size=100),
    context=st.dictionaries(st.text(), st.text()),
)

with_two_layers = st.builds(
    lambda of_one, outer: replace(of_one, mode=Mode.KMS_DSSE, bucket_wrapped_key=None, outer_wrapped_key=outer),
    headers,
    st.binary(min_size=1, max_size=300),
)


@given(headers | with_customer_keys | with_two_layers)
def test_what_was_written_is_read(original: Header) -> None:
    metadata = header.encode(original)
    assert all(name.startswith("x-amz-meta-sse-proxy-") and name == name.lower() for name in metadata)
    assert all(value.isascii() and value.isprintable() and value == value.strip() for value in metadata.values())
    assert header.decode(metadata) == original
    mixed = CIMultiDict({name.title(): value for name, value in metadata.items()})
    mixed["x-amz-meta-other"] = "left alone"
    assert header.decode(mixed) == original


def test_two_layers_go_with_one_mode_and_no_other_wrap() -> None:
    two = replace(PLAIN, mode=Mode.KMS_DSSE, outer_wrapped_key=b"o" * 99)
    assert (header.decode(header.encode(two)), two.layers, PLAIN.layers) == (two, 2, 1)
    for change in (
        {"mode": Mode.KMS},
        {"mode": Mode.S3},
        {"bucket_wrapped_key": b"b" * 72},
        {"rewrapped_key": b"b" * 72},
        {"outer_wrapped_key": b""},
    ):
        with pytest.raises(ValueError, match="two layers"):
            header.encode(replace(two, **change))
    with pytest.raises(ValueError, match="two layers"):
        header.encode(replace(CUSTOMER, outer_wrapped_key=b"o"))


def test_there_is_no_context_field_without_a_context() -> None:
    assert header.encode(PLAIN).keys() == {ARN_NAME, KEY_NAME}
    assert header.encode(replace(PLAIN, context={"b": "ü", "a": ""}))[CONTEXT_NAME] == b64encode(
        '{"a":"","b":"ü"}'.encode()
    ).decode("ascii")


def test_under_a_customers_key_there_is_nothing_but_the_key_field() -> None:
    metadata = header.encode(CUSTOMER)
    assert metadata.keys() == {KEY_NAME}
    for more in ({ARN_NAME: PLAIN.key_arn}, {CONTEXT_NAME: b64encode(b'{"a":"b"}').decode()}):
        with pytest.raises(EnvelopeError):
            header.decode(metadata | more)
    for change in ({"key_arn": PLAIN.key_arn}, {"context": {"a": "b"}}, {"wrapped_key": b"w" * 71}):
        with pytest.raises(ValueError, match="customer's key"):
            header.encode(replace(CUSTOMER, **change))


def test_the_object_id_is_the_salts_beginning() -> None:
    assert PLAIN.object_id == bytes(range(16))


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        ("sse-proxy-key", True),
        ("SSE-Proxy-anything", True),
        ("X-Amz-Meta-SSE-proxy-arn", True),
        ("sse-proxy-", True),
        ("sse-proxy", False),
        ("x-amz-meta-note", False),
        ("my-sse-proxy-key", False),
        ("", False),
    ],
)
def test_reserved_names(name: str, reserved: bool) -> None:
    assert header.is_reserved(name) is reserved


def test_no_reserved_name_is_no_header() -> None:
    assert header.decode({}) is None
    assert header.decode({"Content-Type": "text/plain", "x-amz-meta-sse": "1", "sse-proxy-key": "not metadata"}) is None


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in header.encode(PLAIN).items() if key != name}


def with_key(value: bytes) -> dict[str, str]:
    return header.encode(PLAIN) | {KEY_NAME: urlsafe_b64encode(value).rstrip(b"=").decode()}


RAW = urlsafe_b64decode(header.encode(PLAIN)[KEY_NAME] + "==")
DAMAGED = {
    "no key": without(KEY_NAME),
    "no ARN": without(ARN_NAME),
    "empty key": header.encode(PLAIN) | {KEY_NAME: ""},
    "empty ARN": header.encode(PLAIN) | {ARN_NAME: ""},
    "ARN that is not ASCII": header.encode(PLAIN) | {ARN_NAME: "arn:ü"},
    "ARN with a space": header.encode(PLAIN) | {ARN_NAME: "arn: x"},
    "an unknown reserved name": header.encode(PLAIN) | {"x-amz-meta-sse-proxy-more": "1"},
    "foreign characters": header.encode(PLAIN) | {KEY_NAME: header.encode(PLAIN)[KEY_NAME] + "!"},
    "not ASCII": header.encode(PLAIN) | {KEY_NAME: "ü"},
    "padding": header.encode(PLAIN) | {KEY_NAME: header.encode(PLAIN)[KEY_NAME] + "="},
    "the other alphabet": with_key(RAW[:2] + b"\xff" * 32 + RAW[34:])
    | {KEY_NAME: with_key(RAW[:2] + b"\xff" * 32 + RAW[34:])[KEY_NAME].replace("_", "/")},
    "unused bits set": {**with_key(RAW[:-1] + b"\0"), KEY_NAME: with_key(RAW[:-1] + b"\0")[KEY_NAME][:-1] + "B"},
    "mode 0": with_key(RAW[:1] + b"\x00" + RAW[2:]),
    "an unknown flag": with_key(RAW[:1] + b"\x12" + RAW[2:]),
    "only the version": with_key(RAW[:1]),
    "cut in the salt": with_key(RAW[:20]),
    "cut in the wrapped key": with_key(RAW[:90]),
    "cut in the record": with_key(RAW[: 67 + 99 + 27]),
    "no wrapped key": with_key(RAW[:66] + b"\0" + RAW[67 + 99 :]),
    "a long number": with_key(RAW[:66] + b"\xe3\x00" + RAW[67:]),
    "context not base64": header.encode(PLAIN) | {CONTEXT_NAME: "{}"},
    "context not JSON": header.encode(PLAIN) | {CONTEXT_NAME: b64encode(b"{").decode()},
    "context not UTF-8": header.encode(PLAIN) | {CONTEXT_NAME: b64encode(b'{"a":"\xff"}').decode()},
    "context a list": header.encode(PLAIN) | {CONTEXT_NAME: b64encode(b"[]").decode()},
    "context empty": header.encode(PLAIN) | {CONTEXT_NAME: b64encode(b"{}").decode()},
    "context of numbers": header.encode(PLAIN) | {CONTEXT_NAME: b64encode(b'{"a":1}').decode()},
    "context not canonical": header.encode(PLAIN) | {CONTEXT_NAME: b64encode(b'{"b":"","a":""}').decode()},
    "context with a name twice": header.encode(PLAIN) | {CONTEXT_NAME: b64encode(b'{"a":"","a":""}').decode()},
    "context with half a surrogate": header.encode(PLAIN) | {CONTEXT_NAME: b64encode(b'{"a":"\\ud800"}').decode()},
}


@pytest.mark.parametrize("metadata", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_headers_are_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(EnvelopeError) as caught:
        header.decode(metadata)
    assert caught.type is EnvelopeError


def test_a_deeply_nested_context_is_refused() -> None:
    nested = b64encode(b"[" * 100_000).decode()
    with pytest.raises(EnvelopeError):
        header.decode(header.encode(PLAIN) | {CONTEXT_NAME: nested})


def test_the_same_name_twice_is_refused() -> None:
    twice = CIMultiDict(header.encode(PLAIN))
    twice.add(ARN_NAME.upper(), PLAIN.key_arn)
    with pytest.raises(EnvelopeError, match="twice"):
        header.decode(twice)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_versions_are_a_clear_error(version: int) -> None:
    metadata = with_key(bytes((version,)) + RAW[1:]) | {"x-amz-meta-sse-proxy-new": "1"}
    with pytest.raises(UnknownVersion, match=f"version {version}"):
        header.decode(metadata)


@pytest.mark.parametrize(
    "change",
    [
        {"key_arn": ""},
        {"key_arn": "arn\r\nx: y"},
        {"salt": b"short"},
        {"commitment": b"short"},
        {"bucket_wrapped_key": b"short"},
    ],
)
def test_headers_out_of_form_are_not_written(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        header.encode(replace(PLAIN, **change))
