from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote_plus
from xml.etree import ElementTree

import pytest

from proxy.aws.errors import AwsError
from proxy.envelope.ranges import stored_size
from proxy.s3.access.accounts import canonical_id
from proxy.s3.gateway import Gateway, Target
from proxy.s3.operations.list_objects import list_objects_operations
from proxy.s3.state.ports import BucketRecord, ObjectRecord
from tests.s3.fakes import ACCOUNT, FakeUpstream, StoredThing, make_call, make_gateway, store_error

RECORD = BucketRecord("bucket", ACCOUNT, "eu-west-1", datetime(2026, 11, 23, 6, tzinfo=UTC))
KEYS = ["a b", "a%2Bb", "a+b", "big", "d/", "d/e", "d/f", "d2/f&<>", "kms", "x\x01y", "é"]
PREFIX = "{http://s3.amazonaws.com/doc/2006-03-01/}"


async def _nobody(gateway: Gateway, bucket: BucketRecord, key: str, version_id: str) -> ObjectRecord | None:
    raise AssertionError(key)


V1, V2 = list_objects_operations(_nobody)


def _upstream() -> FakeUpstream:
    things = {key: StoredThing(0 if key.endswith("/") else stored_size(5), f'"{"a" * 32}"') for key in KEYS}
    return FakeUpstream({"bucket": things})


async def _list(upstream: FakeUpstream, operation: Any = V2, **parameters: Any) -> ElementTree.Element:
    query = "&".join(f"{name.replace('_', '-')}={quote(str(value), safe='')}" for name, value in parameters.items())
    call = make_call("GET", Target("bucket"), query, record=RECORD)
    answer = await operation.run(make_gateway(upstream), call)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/xml")
    # ElementTree reads XML 1.0, which has no form for some characters of keys.
    return ElementTree.fromstring(bytes(answer.body).replace(b"&#x1;", b"\xef\xbf\xbd"))


def _texts(root: ElementTree.Element, path: str) -> list[str]:
    return [element.text or "" for element in root.findall("/".join(PREFIX + part for part in path.split("/")))]


def _text(root: ElementTree.Element, name: str) -> str | None:
    return root.findtext(PREFIX + name)


def _shown(root: ElementTree.Element) -> list[str]:
    return _texts(root, "Contents/Key") + _texts(root, "CommonPrefixes/Prefix")


@pytest.mark.parametrize("operation", [V1, V2])
async def test_the_whole_bucket_with_the_sizes_and_etags_of_the_plaintext(operation: Any) -> None:
    root = await _list(_upstream(), operation, encoding_type="url")
    assert _texts(root, "Contents/Size") == ["0" if key.endswith("/") else "5" for key in KEYS]
    etags = [f'"{"a" * 32}"' if key.endswith("/") else f'"{"a" * 32}-0"' for key in KEYS]
    assert _texts(root, "Contents/ETag") == etags
    assert (_text(root, "Name"), _text(root, "IsTruncated"), _text(root, "MaxKeys")) == ("bucket", "false", "1000")


@pytest.mark.parametrize("operation", [V1, V2])
async def test_nothing_of_the_stores_own_is_shown(operation: Any) -> None:
    root = await _list(_upstream(), operation, max_keys=1, delimiter="/")
    document = ElementTree.tostring(root).decode()
    assert "store" not in document
    assert "theirs" not in document


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
@pytest.mark.parametrize("delimiter", ["", "/", "2", "d", "a", "d/"])
@pytest.mark.parametrize("prefix", ["", "d", "d/", "a", "none"])
async def test_pages_together_are_the_listing(prefix: str, delimiter: str, count: int) -> None:
    wanted = []
    for key in KEYS:
        if key.startswith(prefix):
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            item = prefix + head + found if found else key
            if item not in wanted:
                wanted.append(item)
    for operation in (V1, V2):
        upstream, shown = _upstream(), []
        more: dict[str, str] = {}
        for _ in range(30):
            parameters = {"prefix": prefix, "delimiter": delimiter, "max_keys": count, **more}
            root = await _list(upstream, operation, encoding_type="url", **parameters)
            page = _decoded(root)
            shown += page
            assert len(page) <= count
            if _text(root, "IsTruncated") == "false":
                break
            more = _next(operation, root, page, delimiter)
        assert sorted(shown) == sorted(wanted)


def _decoded(root: ElementTree.Element) -> list[str]:
    return [unquote_plus(item) for item in _shown(root)]


def _next(operation: Any, root: ElementTree.Element, page: list[str], delimiter: str) -> dict[str, str]:
    if operation is V2:
        return {"continuation_token": _text(root, "NextContinuationToken") or ""}
    if delimiter:
        return {"marker": unquote_plus(_text(root, "NextMarker") or "")}
    assert _text(root, "NextMarker") is None
    return {"marker": page[-1]}


async def test_key_count_is_of_v2_and_owner_of_v1_or_on_request() -> None:
    upstream = _upstream()
    v1, v2 = await _list(upstream, V1, delimiter="/"), await _list(upstream, delimiter="/")
    assert (_text(v1, "KeyCount"), _text(v2, "KeyCount")) == (None, "9")
    assert set(_texts(v1, "Contents/Owner/ID")) == {canonical_id(ACCOUNT)}
    assert _texts(v2, "Contents/Owner/ID") == []
    asked = await _list(upstream, fetch_owner="true")
    assert set(_texts(asked, "Contents/Owner/ID")) == {canonical_id(ACCOUNT)}


async def test_what_was_asked_is_said_again() -> None:
    asked = {"prefix": "d é", "delimiter": "&", "start_after": "a b", "encoding_type": "url"}
    root = await _list(_upstream(), **asked)
    names = ("Prefix", "Delimiter", "StartAfter", "EncodingType")
    assert [_text(root, name) for name in names] == ["d+%C3%A9", "%26", "a+b", "url"]
    plain = await _list(_upstream(), V1, prefix="d é", marker="é")
    assert (_text(plain, "Prefix"), _text(plain, "Marker"), _text(plain, "EncodingType")) == ("d é", "é", None)


async def test_without_the_url_encoding_keys_stand_as_they_are() -> None:
    root = await _list(_upstream(), prefix="d2/")
    assert _shown(root) == ["d2/f&<>"]


async def test_only_known_parameters_go_up() -> None:
    upstream = _upstream()
    await _list(upstream, prefix="p", metadata="true", x_id="ListObjects", max_keys=7, fetch_owner="true")
    names = {name for name, _ in upstream.sent[0].parameters}
    assert names == {"list-type", "encoding-type", "max-keys", "prefix"}


@pytest.mark.parametrize(("value", "shown"), [("1001", "1000"), ("2147483647", "1000"), ("", "1000"), ("7", "7")])
async def test_max_keys_is_at_most_1000(value: str, shown: str) -> None:
    upstream = _upstream()
    assert _text(await _list(upstream, max_keys=value), "MaxKeys") == shown
    assert upstream.sent[0].parameter("max-keys") == shown


@pytest.mark.parametrize("operation", [V1, V2])
async def test_no_keys_are_no_keys(operation: Any) -> None:
    root = await _list(_upstream(), operation, max_keys=0)
    assert (_shown(root), _text(root, "IsTruncated"), _text(root, "MaxKeys")) == ([], "false", "0")


@pytest.mark.parametrize(
    ("parameters", "argument"),
    [
        ({"max_keys": "x"}, "max-keys"),
        ({"max_keys": "1.0"}, "max-keys"),
        ({"max_keys": "2147483648"}, "max-keys"),
        ({"max_keys": "9" * 100}, "max-keys"),
        ({"max_keys": "٣"}, "max-keys"),
        ({"max_keys": "-1"}, "maxKeys"),
        ({"encoding_type": "base64"}, "encoding-type"),
        ({"continuation_token": ""}, "continuation-token"),
        ({"continuation_token": "!!"}, "continuation-token"),
        ({"continuation_token": "é"}, "continuation-token"),
        ({"continuation_token": "eHg="}, "continuation-token"),
    ],
)
async def test_bad_parameters(parameters: dict[str, str], argument: str) -> None:
    upstream = _upstream()
    with pytest.raises(AwsError) as caught:
        await _list(upstream, **parameters)
    assert (caught.value.code, caught.value.detail["ArgumentName"]) == ("InvalidArgument", argument)
    assert upstream.sent == []


async def test_the_stores_error_is_the_answer() -> None:
    with pytest.raises(AwsError, match="NoSuchBucket"):
        await _list(FakeUpstream(answers=[store_error(404, "NoSuchBucket")]))


async def test_a_page_goes_on_after_a_name_in_the_store_s_own_form() -> None:
    upstream = _upstream()
    for operation, query in ((V1, "marker=a"), (V2, "list-type=2&start-after=a"), (V2, "list-type=2")):
        gateway = make_gateway(upstream, marker_suffix="[suffix]")
        await operation.run(gateway, make_call("GET", Target("bucket"), query, record=RECORD))
    assert [request.parameter("start-after") for request in upstream.sent] == ["a[suffix]", "a[suffix]", None]
