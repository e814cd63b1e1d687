import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kms import blob
from proxy.kms.blob import MULTI_REGION, SERVICE_OWNED, SINGLE_REGION, BlobKey
from proxy.kms.errors import KmsError
from proxy.xaes import XAES256GCM

CIPHER = XAES256GCM(bytes(range(32)))
NONCE = bytes(range(24))
KEY = BlobKey(SINGLE_REGION, "111122223333", "1234abcd-12ab-34cd-56ef-1234567890ab", 3)
CONTEXT = {"aws:s3:arn": "arn:aws:s3:::bucket/key", "b": ""}

contexts = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4)
keys = st.builds(
    BlobKey,
    st.sampled_from([SINGLE_REGION, SERVICE_OWNED]),
    st.integers(0, 10**12 - 1).map("{:012d}".format),
    st.uuids().map(str),
    st.integers(1, 2**32 - 1),
) | st.builds(
    BlobKey,
    st.just(MULTI_REGION),
    st.integers(0, 10**12 - 1).map("{:012d}".format),
    st.uuids().map(lambda uuid: f"mrk-{uuid.hex}"),
    st.integers(1, 2**32 - 1),
)


def refused(data: bytes, context: dict[str, str]) -> bool:
    with pytest.raises(KmsError) as caught:
        blob.open_blob(CIPHER, blob.parse(data), context)
    return (caught.value.code, caught.value.message, caught.value.status) == ("InvalidCiphertextException", None, 400)


def test_the_layout_is_the_documented_one() -> None:
    made = blob.seal(CIPHER, KEY, NONCE, b"p" * 32, {"b": "2", "a": "1"})
    header = bytes.fromhex("01 01 19df6690e5 1234abcd12ab34cd56ef1234567890ab 00000003")
    assert len(made) == 99
    assert made[:27] == header
    assert made[27:51] == NONCE
    context = b"\0\0\0\1a\0\0\0\0011\0\0\0\1b\0\0\0\0012"
    assert CIPHER.decrypt(NONCE, made[51:], header + context) == b"p" * 32


@given(keys, st.binary(min_size=1, max_size=64), contexts)
def test_a_blob_comes_back(key: BlobKey, plaintext: bytes, context: dict[str, str]) -> None:
    made = blob.seal(CIPHER, key, NONCE, plaintext, context)
    assert len(made) == len(plaintext) + blob.OVERHEAD
    parsed = blob.parse(made)
    assert parsed.key == key
    assert blob.open_blob(CIPHER, parsed, dict(reversed(context.items()))) == plaintext


@given(contexts, contexts)
def test_contexts_that_differ_have_different_bytes(one: dict[str, str], two: dict[str, str]) -> None:
    assert (blob.context_bytes(one) == blob.context_bytes(two)) is (one == two)


def test_contexts_that_run_together_are_told_apart() -> None:
    assert blob.context_bytes({"ab": "c"}) != blob.context_bytes({"a": "bc"})
    assert blob.context_bytes({"a": "", "b": ""}) != blob.context_bytes({"a": "b"})
    assert blob.context_bytes({}) == b""


def test_no_bit_can_be_flipped() -> None:
    made = blob.seal(CIPHER, KEY, NONCE, b"plaintext", CONTEXT)
    for position in range(len(made) * 8):
        flipped = bytearray(made)
        flipped[position // 8] ^= 1 << position % 8
        assert refused(bytes(flipped), CONTEXT)


def test_nothing_can_be_cut_or_added() -> None:
    made = blob.seal(CIPHER, KEY, NONCE, b"plaintext", CONTEXT)
    assert all(refused(made[:size], CONTEXT) for size in range(len(made)))
    assert refused(made + b"\0", CONTEXT)
    assert refused(b"\0" + made, CONTEXT)


@pytest.mark.parametrize("context", [{}, {"b": ""}, CONTEXT | {"c": ""}, CONTEXT | {"b": "x"}, {"A": "", "b": ""}])
def test_another_context_does_not_open_it(context: dict[str, str]) -> None:
    assert refused(blob.seal(CIPHER, KEY, NONCE, b"plaintext", CONTEXT), context)


@given(st.binary(max_size=200))
def test_garbage_is_invalid_ciphertext_and_nothing_else(data: bytes) -> None:
    assert refused(data, {})


def test_an_account_that_is_none_is_refused() -> None:
    made = blob.seal(CIPHER, KEY, NONCE, b"plaintext", {})
    assert refused(made[:2] + b"\xff" * 5 + made[7:], {})
