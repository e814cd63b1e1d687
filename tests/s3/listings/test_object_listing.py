import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws.xml_codec import read_elements
from proxy.envelope.ranges import stored_size
from proxy.s3.gateway import Gateway
from proxy.s3.listings.object_listing import Entry, Page, encode_key, milliseconds, put_right, read_page, render
from proxy.s3.state.ports import BucketRecord, ObjectRecord
from proxy.s3.upstream.port import UpstreamError
from tests.s3.fakes import ACCOUNT, make_gateway

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BUCKET = BucketRecord("b", ACCOUNT, "eu-west-1", NOW)
MIXED = replace(BUCKET, mixed=True)
WHEN = "2026-11-23T06:00:00.000Z"
ETAG = f'"{"a" * 32}"'
MD5 = f'"{"c" * 32}"'
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def _contents(key: str, etag: str = "&#34;e&#34;", more: str = "") -> str:
    members = f"<Key>{key}</Key><ETag>{etag}</ETag><Size>5</Size><LastModified>{WHEN}</LastModified>"
    return f"<Contents>{members}{more}</Contents>"


def _document(inner: str) -> bytes:
    return f"<ListBucketResult {NAMESPACE}>{inner}</ListBucketResult>".encode()


def test_a_page_is_read() -> None:
    owner = "<Owner><ID>x</ID><DisplayName>y</DisplayName></Owner><StorageClass>GLACIER</StorageClass>"
    prefixes = "<CommonPrefixes><Prefix>p%2F+/</Prefix></CommonPrefixes>"
    page = read_page(
        _document(f"<Prefix>q</Prefix><IsTruncated>true</IsTruncated>{_contents('a+b%2B%01', more=owner)}{prefixes}")
    )
    assert page == Page([Entry("a b+\x01", WHEN, '"e"', 5, "GLACIER")], ["p/ /"], True)


def test_an_etag_without_quotes_gets_them() -> None:
    assert read_page(_document(_contents("k", "abc"))).entries[0].etag == '"abc"'


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html/>",
        b"<Error><Code>x</Code></Error>",
        _document(_contents("k"))[:-5],
        b"<!DOCTYPE x>" + _document(_contents("k")),
        _document("<Contents><Key>k</Key></Contents>"),
        _document(_contents("k").replace(">5<", ">five<")),
        _document("<IsTruncated>true</IsTruncated>"),
    ],
)
def test_what_is_no_page_is_the_stores_fault(document: bytes) -> None:
    with pytest.raises(UpstreamError):
        read_page(document)


def test_a_page_resumes_after_what_comes_last() -> None:
    entry = Entry("b", WHEN, ETAG, 5, "STANDARD")
    assert Page([entry], ["a/"], True).resume == "b"
    assert Page([entry], ["c/"], True).resume == "c/\U0010ffff"
    assert Page([], [], False).resume == ""
    # By bytes of UTF-8, as S3 sorts, not by UTF-16.
    assert Page([entry._replace(key="\uff00")], ["\U00010000/"], True).last == "\U00010000/"


async def _never(gateway: Gateway, bucket: BucketRecord, key: str, version_id: str) -> ObjectRecord | None:
    raise AssertionError(f"{key} explains itself")


async def _shown(
    bucket: BucketRecord, entry: Entry, records: Sequence[ObjectRecord] = (), resolve: object = _never
) -> tuple[int, str]:
    gateway = make_gateway()
    for record in records:
        await gateway.objects.put(record)
    page = await put_right(gateway, bucket, Page([entry], [], False), resolve)  # type: ignore[arg-type]
    assert page.entries[0]._replace(size=entry.size, etag=entry.etag) == entry
    return page.entries[0].size, page.entries[0].etag


def _record(**changes: object) -> ObjectRecord:
    return replace(ObjectRecord("b", "k", b"i" * 16, ETAG, 77, MD5, b"", NOW), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 65_479, 65_480, 65_481, 131_001, 2**20, 2**20 + 1, 5 * 2**30])
async def test_a_single_put_without_a_record_is_told_by_its_size(size: int) -> None:
    entry = Entry("k", WHEN, ETAG, stored_size(size), "STANDARD")
    assert await _shown(BUCKET, entry) == (size, f'{ETAG[:-1]}-0"')


async def test_a_record_of_this_very_object_gives_size_and_etag() -> None:
    entry = Entry("k", WHEN, ETAG, 999, "STANDARD")
    other = _record(object_id=b"j" * 16, upstream_etag=MD5, size=1)
    assert await _shown(BUCKET, entry, [other, _record()]) == (77, MD5)
    assert await _shown(MIXED, entry, [_record()]) == (77, MD5)
    assert await _shown(MIXED, entry, [_record(object_id=b"", etag=None)]) == (77, ETAG)


async def test_a_record_of_another_object_says_nothing() -> None:
    entry = Entry("k", WHEN, ETAG, stored_size(5), "STANDARD")
    assert await _shown(BUCKET, entry, [_record(upstream_etag=MD5)]) == (5, f'{ETAG[:-1]}-0"')


async def test_an_empty_marker_is_shown_as_it_is() -> None:
    entry = Entry("d/", WHEN, ETAG, 0, "STANDARD")
    assert await _shown(BUCKET, entry) == (0, ETAG)
    assert await _shown(MIXED, entry) == (0, ETAG)


@pytest.mark.parametrize(
    ("bucket", "entry", "records"),
    [
        (BUCKET, Entry("k", WHEN, '"abc-2"', stored_size(5), "STANDARD"), []),
        (BUCKET, Entry("k", WHEN, ETAG, 3, "STANDARD"), []),
        (BUCKET, Entry("k", WHEN, ETAG, 0, "STANDARD"), []),
        (BUCKET, Entry("k", WHEN, ETAG, stored_size(5), "STANDARD"), [_record(upstream_etag=None)]),
        (MIXED, Entry("k", WHEN, ETAG, stored_size(5), "STANDARD"), []),
        (MIXED, Entry("k", WHEN, ETAG, stored_size(5), "STANDARD"), [_record(upstream_etag=MD5)]),
    ],
)
async def test_what_only_the_object_can_tell_is_asked(
    bucket: BucketRecord, entry: Entry, records: list[ObjectRecord]
) -> None:
    async def resolve(gateway: Gateway, asked: BucketRecord, key: str, version_id: str) -> ObjectRecord:
        assert (asked, key) == (bucket, "k")
        return _record(upstream_etag=entry.etag)

    assert await _shown(bucket, entry, records, resolve) == (77, MD5)


@pytest.mark.parametrize("fault", [None, RuntimeError("damaged"), UpstreamError("gone")])
async def test_one_object_that_cannot_be_explained_does_not_hide_the_others(fault: Exception | None) -> None:
    async def resolve(gateway: Gateway, bucket: BucketRecord, key: str, version_id: str) -> ObjectRecord | None:
        if fault:
            raise fault
        return None

    bad = Entry("bad", WHEN, ETAG, 3, "STANDARD")
    good = Entry("good", WHEN, ETAG, stored_size(5), "STANDARD")
    page = await put_right(make_gateway(), BUCKET, Page([bad, good], ["p/"], True), resolve)
    assert page == Page([bad, good._replace(size=5, etag=f'{ETAG[:-1]}-0"')], ["p/"], True)


async def test_only_so_many_are_asked_at_once() -> None:
    now = most = 0

    async def resolve(gateway: Gateway, bucket: BucketRecord, key: str, version_id: str) -> ObjectRecord | None:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0)
        now -= 1
        return None

    entries = [Entry(f"k{number}", WHEN, ETAG, 3, "STANDARD") for number in range(100)]
    page = await put_right(make_gateway(), BUCKET, Page(entries, [], False), resolve)
    assert list(page.entries) == entries
    assert 1 < most <= 16


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_key_survives_the_url_encoding(key: str) -> None:
    page = Page([Entry(key, WHEN, ETAG, 5, "STANDARD")], [f"{key}/"], False)
    document = render([("Name", "b")], page, url=True, owner=None, key_count=True)
    assert read_page(document) == page
    assert unquote_plus(encode_key(key)) == key


def test_aws_url_encoding() -> None:
    assert encode_key("a b/c+d*é~\x01") == "a+b/c%2Bd*%C3%A9~%01"


def test_the_document() -> None:
    page = Page([Entry("a&\x01", "2026-11-23T06:00:00Z", '"e-0"', 5, "STANDARD")], ["<p>/"], True)
    head = [("Name", "b"), ("Prefix", ""), ("StartAfter", None)]
    document = render(head, page, url=False, owner="f" * 64, key_count=True).decode()
    assert document == (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult {NAMESPACE}><Name>b</Name><Prefix></Prefix>'
        "<KeyCount>2</KeyCount><IsTruncated>true</IsTruncated><Contents><Key>a&amp;&#x1;</Key>"
        "<LastModified>2026-11-23T06:00:00.000Z</LastModified><ETag>&quot;e-0&quot;</ETag><Size>5</Size>"
        f"<Owner><ID>{'f' * 64}</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
        "<CommonPrefixes><Prefix>&lt;p&gt;/</Prefix></CommonPrefixes></ListBucketResult>"
    )
    read_elements(document.replace("&#x1;", "").encode(), lambda *_: None)


def test_moments_have_milliseconds() -> None:
    assert milliseconds("2026-11-23T06:00:00Z") == WHEN
    assert milliseconds(WHEN) == WHEN
