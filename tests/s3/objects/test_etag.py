from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.s3.objects.etag import EMPTY, NEVER, is_multipart, parse_list, to_client, to_upstream
from proxy.s3.state.ports import ObjectRecord

NOW = datetime(2026, 11, 23, tzinfo=UTC)
STORED, STORED_2, MD5 = (f'"{digit * 32}"' for digit in "abc")
SSE_S3 = ObjectRecord("b", "k", b"i" * 16, STORED, 5, MD5, b"", NOW)
PLAIN = ObjectRecord("b", "k", b"", STORED, 5, None, b"", NOW)
HEX = st.text("0123456789abcdef", min_size=32, max_size=32).map(lambda text: f'"{text}"')


def _suffixed(etag: str) -> str:
    return etag[:-1] + '-0"'


@pytest.mark.parametrize(
    ("etag", "expected"),
    [
        (STORED, False),
        ('"abc-3"', True),
        ('"abc-10000"', True),
        ('"abc-0"', False),
        ('"abc-03"', False),
        ("abc-3", False),
    ],
)
def test_multipart_etags(etag: str, expected: bool) -> None:
    assert is_multipart(etag) is expected


def test_each_kind_of_object_shows_its_own() -> None:
    assert to_client(STORED) == _suffixed(STORED)
    assert to_client('"abc-3"') == '"abc-3"'
    assert to_client(STORED, SSE_S3) == MD5
    assert to_client(STORED, replace(SSE_S3, etag=None)) == _suffixed(STORED)
    assert to_client(STORED, PLAIN) == STORED


@given(HEX)
def test_no_client_is_shown_32_digits_that_are_not_the_md5(etag: str) -> None:
    assert len(to_client(etag).strip('"')) != 32


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("*", ["*"]),
        (" * ", ["*"]),
        ('"a"', ['"a"']),
        ("a", ['"a"']),
        ('W/"a"', ['"a"']),
        ('"a", W/"b",c', ['"a"', '"b"', '"c"']),
        ('"a,b"', ['"a,b"']),
        ('""', ['""']),
        ('"*"', ['"*"']),
    ],
)
def test_parse_list(value: str, expected: list[str]) -> None:
    assert parse_list(value) == expected


@pytest.mark.parametrize("value", ["", " ", '"a', 'a"', '"a" "b"', ",", 'x"a"', '"a";"b"'])
def test_what_is_no_list(value: str) -> None:
    with pytest.raises(ValueError):
        parse_list(value)


@pytest.mark.parametrize(
    ("value", "records", "mixed", "key", "expected"),
    [
        ("*", [], False, "k", "*"),
        (_suffixed(STORED), [], False, "k", STORED),
        (_suffixed(STORED).strip('"'), [], False, "k", STORED),
        ("W/" + _suffixed(STORED), [], False, "k", STORED),
        ('"abc-3"', [], False, "k", '"abc-3"'),
        # The store's own ETag, which no client was shown.
        (STORED, [], False, "k", NEVER),
        (STORED, [SSE_S3], False, "k", NEVER),
        (STORED, [replace(SSE_S3, etag=None)], True, "k", NEVER),
        (STORED, [SSE_S3], True, "k", NEVER),
        # An SSE-S3 object shows its MD5 and nothing else.
        (MD5, [SSE_S3], False, "k", STORED),
        (_suffixed(STORED), [SSE_S3], False, "k", NEVER),
        (MD5, [], False, "k", NEVER),
        (MD5, [replace(SSE_S3, upstream_etag=None)], False, "k", NEVER),
        # Plaintext of a mixed bucket shows the store's.
        (STORED, [], True, "k", STORED),
        (STORED, [PLAIN], True, "k", STORED),
        (_suffixed(STORED), [PLAIN], True, "k", NEVER),
        # Directory markers go up bare.
        (EMPTY, [], False, "d/", EMPTY),
        (EMPTY, [], False, "k", NEVER),
        (STORED, [], False, "d/", NEVER),
        (f"{MD5}, {_suffixed(STORED_2)}, {STORED_2}", [SSE_S3], False, "k", f"{STORED}, {STORED_2}"),
        (f"{STORED}, {STORED_2}", [SSE_S3], False, "k", NEVER),
        ('"garbage"', [], False, "k", NEVER),
        ('""', [], False, "k", NEVER),
    ],
)
def test_to_upstream(value: str, records: list[ObjectRecord], mixed: bool, key: str, expected: str) -> None:
    assert to_upstream(value, records, key=key, mixed=mixed) == expected


def test_of_two_writes_of_the_same_bytes_the_newer_is_meant() -> None:
    newer = replace(SSE_S3, object_id=b"j" * 16, upstream_etag=STORED_2, written=NOW + timedelta(seconds=1))
    assert to_upstream(MD5, [SSE_S3, newer]) == STORED_2
    assert to_upstream(MD5, [newer, SSE_S3]) == STORED_2


@given(HEX, HEX, st.booleans())
def test_there_and_back(upstream: str, md5: str, kms: bool) -> None:
    record = replace(SSE_S3, upstream_etag=upstream, etag=md5)
    records = [] if kms else [record]
    shown = to_client(upstream, None if kms else record)
    assert to_upstream(shown, records) == upstream


@given(HEX, HEX)
def test_the_stores_etag_of_an_encrypted_object_never_matches(upstream: str, md5: str) -> None:
    for records in ([], [replace(SSE_S3, upstream_etag=upstream, etag=md5)]):
        if upstream != md5:
            assert to_upstream(upstream, records) == NEVER
