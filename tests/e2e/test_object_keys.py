"""Object keys of every kind, directory markers, listings and deletions."""

import base64
import hashlib
import itertools
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.samples import MIB, body, exists, keys_in, new_bucket, new_key, refused, s3, shared_bucket, upload
from tests.e2e.stores import Endpoint
from tests.e2e.wire import Wire

KMS = {"ServerSideEncryption": "aws:kms"}

NAMES = {
    "space": "a b  c",
    "plus": "a+b+ c",
    "percent": "100%/%41%2F%zz",
    "query": "a?b=c&d#e",
    "markup": "<a>&amp;'\"",
    "punctuation": "!$()*,-.:;=@[]^_`{|}~",
    "accents": "Ünï/çødé",
    "composed": "e\u0301/\u00e9",
    "japanese": "日本語/テスト.txt",
    "emoji": "🔐/🗝️",
    "dots": "a.b/.c/d..e",
    "like a sub-resource": "acl",
    "long": "/".join(["x" * 250, "ü" * 125, "z" * 250, "w" * 238]),
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_key(endpoint: Endpoint, name: str) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key(name)
    put = client.put_object(Bucket=bucket, Key=key, Body=body(100), **KMS)
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == body(100)
    assert client.get_object(Bucket=bucket, Key=key, Range="bytes=10-19")["Body"].read() == body(100)[10:20]
    assert client.head_object(Bucket=bucket, Key=key)["ETag"] == put["ETag"]
    assert keys_in(endpoint, bucket, key) == [key]
    listed = client.list_objects(Bucket=bucket, Prefix=key)["Contents"]
    assert [(entry["Key"], entry["Size"], entry["ETag"]) for entry in listed] == [(key, 100, put["ETag"])]
    client.delete_object(Bucket=bucket, Key=key)
    assert not exists(endpoint, bucket, key)
    assert keys_in(endpoint, bucket, key) == []


@pytest.mark.parametrize("name", ["a b", "a+b", "%41", "日本語.txt", "a&b"])
def test_any_key_with_the_cli(endpoint: Endpoint, name: str) -> None:
    bucket, key = shared_bucket(endpoint), new_key(name)
    up = endpoint.aws("s3", "cp", "-", f"s3://{bucket}/{key}", input=b"hello")
    assert up.returncode == 0, up.stderr.decode()
    assert s3(endpoint).get_object(Bucket=bucket, Key=key)["Body"].read() == b"hello"
    ls = endpoint.aws("s3", "ls", f"s3://{bucket}/{key}")
    assert ls.stdout.decode().rstrip("\n").endswith(f" 5 {name}")


def test_multipart_under_an_awkward_key(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key("a +%2B/ü&<")
    done, _ = upload(endpoint, bucket, key, {1: body(100_000)}, **KMS)
    assert done["Key"] == key
    assert s3(endpoint).get_object(Bucket=bucket, Key=key)["Body"].read() == body(100_000)
    assert keys_in(endpoint, bucket, key) == [key]


def test_a_key_of_1024_bytes_and_of_one_more(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    key = "/".join([key, *["y" * 200] * 4])
    key += "/" + "z" * (1023 - len(key))
    assert len(key) == 1024
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x")
    assert keys_in(endpoint, bucket, key) == [key]
    with refused(400, "KeyTooLongError", "Your key is too long") as error:
        s3(endpoint).put_object(Bucket=bucket, Key=f"{key}z", Body=b"x")
    assert (error["Size"], error["MaxSizeAllowed"]) == ("1025", "1024")


@pytest.mark.parametrize("raw", ["/%ff%fe", "/a%80b"])
def test_a_key_that_is_not_utf_8(endpoint: Endpoint, raw: str) -> None:
    with Wire(endpoint) as wire:
        path = f"/{shared_bucket(endpoint)}"
        # Signed as it is sent: the path's escapes are the ones that the client chose.
        head = wire.signed("GET", path)
        signature = wire.signer.signature(
            "GET",
            path + raw.replace("%ff", "%FF").replace("%fe", "%FE"),
            (),
            {name.lower(): value for name, value in head.headers[:-1]},
            dict(head.headers)["x-amz-content-sha256"],
            head.moment,
        )
        authorization = dict(head.headers)["Authorization"].rpartition("=")[0] + "=" + signature
        got = wire.send(
            type(head)(
                "GET", path + raw, [*head.headers[:-1], ("Authorization", authorization)], head.moment, signature
            )
        )
    assert (got.status, got.code) == (400, "InvalidURI")


ODD = ["../up", "a/../b", ".", "..", "a/.", "./a", "a//b", "/leading", "a\\b", ".uploads/x", "a/.uploads/x"]
ODD += [
    "a.versions/x",
    "__XLDIR__",
    "a__XLDIR__",
    "a__XLDIR__/b",
    "a\nb",
    "a\x01b",
    "\ufffe",
    ".minio.sys/x",
    "x" * 256,
]


@pytest.mark.parametrize("key", ODD)
def test_what_a_store_cannot_hold_is_refused_and_never_rewritten(endpoint: Endpoint, key: str) -> None:
    """Either the object is there under exactly this key, or the client is told no."""
    bucket, prefix = shared_bucket(endpoint), new_key("odd")
    full = key if key.startswith("/") else f"{prefix}/{key}"
    with Wire(endpoint) as wire:
        put = wire.call("PUT", f"/{bucket}/{full}", body=b"hello")
        got = wire.call("GET", f"/{bucket}/{full}")
        assert put.status == 200 or 400 <= put.status < 500
        if put.status == 200:
            assert (got.status, got.body) == (200, b"hello")
            assert keys_in(endpoint, bucket, prefix) == [full]
        else:
            assert 400 <= got.status < 500
            assert keys_in(endpoint, bucket, prefix) == []
            assert keys_in(endpoint, bucket, "leading") == []
            if put.code == "InvalidArgument":
                message = "The store behind this endpoint cannot keep an object under this key."
                begun = wire.call("POST", f"/{bucket}/{full}", [("uploads", "")])
                assert (begun.status, begun.code, begun.message) == (400, "InvalidArgument", message)


@pytest.mark.parametrize(("key", "victim"), [("a//b", "a/b"), ("a__XLDIR__", "a/"), ("a\\b", "a/b")])
def test_one_key_never_stands_for_another(endpoint: Endpoint, key: str, victim: str) -> None:
    """Deleting or overwriting what a store takes for the same name does not touch the other object."""
    client, bucket, prefix = s3(endpoint), shared_bucket(endpoint), new_key("odd")
    data = b"" if victim.endswith("/") else b"precious"
    client.put_object(Bucket=bucket, Key=f"{prefix}/{victim}", Body=data)
    with Wire(endpoint) as wire:
        wire.call("PUT", f"/{bucket}/{prefix}/{key}", body=b"attack")
        wire.call("DELETE", f"/{bucket}/{prefix}/{key}")
        document = f"<Delete><Object><Key>{prefix}/{key}</Key></Object></Delete>".encode()
        digest = base64.b64encode(hashlib.md5(document).digest()).decode()
        wire.call("POST", f"/{bucket}", [("delete", "")], {"Content-MD5": digest}, document)
    assert client.get_object(Bucket=bucket, Key=f"{prefix}/{victim}")["Body"].read() == data
    assert keys_in(endpoint, bucket, prefix) == [f"{prefix}/{victim}"]


# Directory markers.


def test_a_directory_marker(endpoint: Endpoint) -> None:
    client, bucket, prefix = s3(endpoint), shared_bucket(endpoint), new_key("folder")
    put = client.put_object(Bucket=bucket, Key=f"{prefix}/", Body=b"")
    assert put["ETag"] == '"d41d8cd98f00b204e9800998ecf8427e"'
    got = client.get_object(Bucket=bucket, Key=f"{prefix}/")
    assert (got["Body"].read(), got["ContentLength"], got["ETag"]) == (b"", 0, put["ETag"])
    assert client.head_object(Bucket=bucket, Key=f"{prefix}/")["ContentLength"] == 0
    client.put_object(Bucket=bucket, Key=f"{prefix}/inside", Body=b"x")
    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/")["Contents"]
    assert [(entry["Key"], entry["Size"]) for entry in listed] == [(f"{prefix}/", 0), (f"{prefix}/inside", 1)]
    folded = client.list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter="/")
    assert folded["CommonPrefixes"] == [{"Prefix": f"{prefix.partition('/')[0]}/folder/"}]
    client.delete_object(Bucket=bucket, Key=f"{prefix}/inside")
    client.delete_object(Bucket=bucket, Key=f"{prefix}/")
    assert keys_in(endpoint, bucket, prefix) == []


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=0-9", "bytes=-5", "bytes=5-"])
def test_a_range_of_a_directory_marker(endpoint: Endpoint, text: str) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key("folder/")
    client.put_object(Bucket=bucket, Key=key, Body=b"")
    with refused(416, "InvalidRange"):
        client.get_object(Bucket=bucket, Key=key, Range=text)


def test_content_under_a_directory_s_name_is_kept_or_refused(endpoint: Endpoint, store_name: str) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key("folder/")
    if store_name == "seaweedfs":
        message = "The store behind this endpoint keeps no content under a key that ends in '/'."
        with refused(400, "InvalidRequest", message):
            client.put_object(Bucket=bucket, Key=key, Body=b"content")
        with refused(400, "InvalidRequest", message):
            client.create_multipart_upload(Bucket=bucket, Key=key)
        assert keys_in(endpoint, bucket, key) == []
    else:
        client.put_object(Bucket=bucket, Key=key, Body=b"content", Metadata={"a": "b"})
        got = client.get_object(Bucket=bucket, Key=key)
        assert (got["Body"].read(), got["Metadata"]) == (b"content", {"a": "b"})
        assert client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]["Size"] == 7


# Listings.


@pytest.fixture
def filled(endpoint: Endpoint) -> tuple[str, str, dict[str, tuple[int, str]]]:
    """Bucket, prefix, and what its keys have for size and ETag: all kinds of objects among each other."""
    client, bucket, prefix = s3(endpoint), shared_bucket(endpoint), new_key("list")
    made: dict[str, tuple[int, str]] = {}
    for number in range(24):
        key, size = f"{prefix}/{number % 3}/{number:03d} +%ü", number * 7000
        sse: dict[str, Any] = KMS if number % 2 else {}
        made[key] = size, client.put_object(Bucket=bucket, Key=key, Body=body(size), **sse)["ETag"]
    key = f"{prefix}/1/multipart"
    made[key] = 5 * MIB + 3, upload(endpoint, bucket, key, {2: body(5 * MIB), 7: b"end"})[0]["ETag"]
    return bucket, prefix, dict(sorted(made.items(), key=lambda item: item[0].encode()))


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("page_size", [1, 7, 1000])
def test_pages_of_a_listing(
    endpoint: Endpoint, filled: tuple[str, str, dict[str, tuple[int, str]]], operation: str, page_size: int
) -> None:
    bucket, prefix, made = filled
    pages = list(
        s3(endpoint)
        .get_paginator(operation)
        .paginate(Bucket=bucket, Prefix=f"{prefix}/", PaginationConfig={"PageSize": page_size})
    )
    entries = [entry for page in pages for entry in page["Contents"]]
    assert {entry["Key"]: (entry["Size"], entry["ETag"]) for entry in entries} == made
    assert [entry["Key"] for entry in entries] == list(made)
    assert all(len(page["Contents"]) <= page_size for page in pages)
    assert len(pages) == -(-len(made) // page_size)


def test_folders_of_a_listing(endpoint: Endpoint, filled: tuple[str, str, dict[str, tuple[int, str]]]) -> None:
    bucket, prefix, made = filled
    client = s3(endpoint)
    top = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/", Delimiter="/")
    assert [each["Prefix"] for each in top["CommonPrefixes"]] == [f"{prefix}/{number}/" for number in range(3)]
    assert "Contents" not in top
    assert top["KeyCount"] == 3
    inside = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/1/", Delimiter="/", StartAfter=f"{prefix}/1/005")
    assert [entry["Key"] for entry in inside["Contents"]] == [
        key for key in made if key.startswith(f"{prefix}/1/") and key > f"{prefix}/1/005"
    ]


def test_a_listing_in_the_url_encoding_or_in_none(
    endpoint: Endpoint, filled: tuple[str, str, dict[str, tuple[int, str]]]
) -> None:
    bucket, prefix, made = filled
    with Wire(endpoint) as wire:
        query = [("list-type", "2"), ("prefix", f"{prefix}/")]
        plain = wire.call("GET", f"/{bucket}", query).body.decode()
        encoded = wire.call("GET", f"/{bucket}", [*query, ("encoding-type", "url")]).body.decode()
    first = next(iter(made))
    assert f"<Key>{first}</Key>" in plain
    assert f"<Key>{quote(first, safe='/').replace('%20', '+')}</Key>" in encoded


def test_the_first_page_and_the_last(endpoint: Endpoint) -> None:
    client, bucket = s3(endpoint), shared_bucket(endpoint)
    nothing = client.list_objects_v2(Bucket=bucket, Prefix=new_key("none"))
    assert (nothing["KeyCount"], nothing["IsTruncated"], "Contents" in nothing) == (0, False, False)
    with refused(400, "InvalidArgument", "The continuation token provided is incorrect"):
        client.list_objects_v2(Bucket=bucket, ContinuationToken="!!")


# Deletions.


def test_deleting_what_is_not_there(endpoint: Endpoint) -> None:
    answer = s3(endpoint).delete_object(Bucket=shared_bucket(endpoint), Key=new_key())
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_delete_objects(endpoint: Endpoint) -> None:
    client, bucket, prefix = s3(endpoint), shared_bucket(endpoint), new_key("delete")
    keys = [f"{prefix}/{name}" for name in ("plain", "a b+c", "<&>", "ü", "stays")]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    wanted = [*keys[:4], f"{prefix}/was never there"]
    done = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in wanted]})
    assert sorted(each["Key"] for each in done["Deleted"]) == sorted(wanted)
    assert "Errors" not in done
    assert keys_in(endpoint, bucket, prefix) == [f"{prefix}/stays"]
    quiet = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": keys[4]}], "Quiet": True})
    assert "Deleted" not in quiet
    assert keys_in(endpoint, bucket, prefix) == []


def test_delete_objects_of_too_many_deletes_none(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=b"x")
    objects = [{"Key": key}, *({"Key": f"{key}/{number}"} for number in range(1000))]
    with refused(400, "MalformedXML"):
        client.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert exists(endpoint, bucket, key)


def test_delete_objects_wants_a_digest(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x")
    document = f"<Delete><Object><Key>{key}</Key></Object></Delete>".encode()
    with Wire(endpoint) as wire:
        bare = wire.call("POST", f"/{bucket}", [("delete", "")], body=document)
        assert (bare.status, bare.code) == (400, "InvalidRequest")
        wrong = wire.call("POST", f"/{bucket}", [("delete", "")], {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, document)
        assert (wrong.status, wrong.code) == (400, "BadDigest")
    assert exists(endpoint, bucket, key)


def test_folders_and_keys_that_are_named_alike(endpoint: Endpoint, store_name: str) -> None:
    """In S3's order, whatever the store's own, and in pages of any size."""
    client, bucket = s3(endpoint), new_bucket(endpoint)
    keys = ["a-1", "a.gz", "a/b", "a/b-1", "a/c-y/z", "a/c.x", "a/c/d", "a0", "d-2/x", "d.x", "d/e.txt", "d/e/f", "e"]
    if store_name != "minio":
        # Which hides what is under a key.
        keys += ["a", "d/e"]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    for operation, prefix, delimiter in itertools.product(
        ("list_objects_v2", "list_objects"), ("", "a", "d/"), ("", "/", "-")
    ):
        expected: dict[str, None] = {}
        for key in sorted(keys, key=str.encode):
            if key.startswith(prefix):
                head, behind, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
                expected[prefix + head + behind if behind else key] = None
        for size in (1, 2, 5, 1000):
            pages = client.get_paginator(operation).paginate(
                Bucket=bucket, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
            )
            found: list[str] = []
            for page in pages:
                entries = [row["Key"] for row in page.get("Contents", [])]
                assert entries == sorted(entries, key=str.encode)
                prefixes = [row["Prefix"] for row in page.get("CommonPrefixes", [])]
                found += sorted(entries + prefixes, key=str.encode)
            assert found == list(expected), (operation, prefix, delimiter, size)
