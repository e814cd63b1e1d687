"""What other gateways have been caught at, each tried here before both stores."""

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.samples import KIB, MIB, body, exists, new_bucket, new_key, refused, s3, shared_bucket, upload
from tests.e2e.stores import Endpoint
from tests.e2e.wire import Wire

BIG = body(5 * MIB, 5)
LARGE = body(2 * MIB, 2)
SMALL = b"small"
SSE = "x-amz-server-side-encryption"


@pytest.fixture(params=["AES256", "aws:kms"])
def bucket(endpoint: Endpoint, request: pytest.FixtureRequest) -> str:
    return new_bucket(endpoint, request.param)


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def read(endpoint: Endpoint, bucket: str, key: str) -> bytes:
    return bytes(s3(endpoint).get_object(Bucket=bucket, Key=key)["Body"].read())


# A wrong Content-MD5 is stored.


@pytest.mark.parametrize("size", [5, 100 * KIB, 2 * MIB])
def test_a_body_with_a_wrong_md5_is_not_stored(endpoint: Endpoint, size: int) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    with refused(400, "BadDigest"):
        client.put_object(Bucket=bucket, Key=key, Body=body(size), ContentMD5=md5(b"another"))
    assert not exists(endpoint, bucket, key)
    client.put_object(Bucket=bucket, Key=key, Body=b"old", ContentMD5=md5(b"old"))
    with refused(400, "BadDigest"):
        client.put_object(Bucket=bucket, Key=key, Body=body(size), ContentMD5=md5(b"another"))
    assert read(endpoint, bucket, key) == b"old"


def test_a_part_with_a_wrong_md5_is_not_stored(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    where = {"Bucket": bucket, "Key": key}
    where["UploadId"] = client.create_multipart_upload(**where)["UploadId"]
    for size in (5, 2 * MIB):
        with refused(400, "BadDigest"):
            client.upload_part(**where, PartNumber=1, Body=body(size), ContentMD5=md5(b"another"))
    assert "Parts" not in client.list_parts(**where)
    client.abort_multipart_upload(**where)


# If-None-Match is ignored.


def test_only_one_of_many_creates_the_object(endpoint: Endpoint, bucket: str) -> None:
    key = new_key()

    def create(number: int) -> int:
        with Wire(endpoint) as wire:
            answer = wire.call("PUT", f"/{bucket}/{key}", headers={"If-None-Match": "*"}, body=b"%d" % number)
        return number if answer.status == 200 else -answer.status

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(create, range(1, 9)))
    created = [number for number in outcomes if number > 0]
    assert len(created) == 1, outcomes
    assert set(outcomes) - set(created) <= {-412, -409}
    assert read(endpoint, bucket, key) == b"%d" % created[0]


def test_a_completion_does_not_replace_what_must_not_be_there(endpoint: Endpoint, bucket: str) -> None:
    client, where = s3(endpoint), {"Bucket": bucket, "Key": "k"}
    upload_id = client.create_multipart_upload(**where)["UploadId"]
    etag = client.upload_part(**where, UploadId=upload_id, PartNumber=1, Body=b"part")["ETag"]
    client.put_object(**where, Body=SMALL)
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    with refused(412, "PreconditionFailed"):
        client.complete_multipart_upload(**where, UploadId=upload_id, MultipartUpload=parts, IfNoneMatch="*")
    assert read(endpoint, bucket, "k") == SMALL
    client.abort_multipart_upload(**where, UploadId=upload_id)


# One object has different ETags.


@pytest.mark.parametrize("kind", ["small", "large", "multipart", "copy", "folder/"])
def test_an_object_has_one_etag_and_one_size_everywhere(endpoint: Endpoint, bucket: str, kind: str) -> None:
    client, where = s3(endpoint), {"Bucket": bucket, "Key": kind}
    if kind == "multipart":
        told, size = upload(endpoint, bucket, kind, {1: BIG, 2: SMALL})[0]["ETag"], len(BIG + SMALL)
    elif kind == "copy":
        client.put_object(Bucket=bucket, Key="source", Body=LARGE)
        told = client.copy_object(**where, CopySource=f"{bucket}/source")["CopyObjectResult"]["ETag"]
        size = len(LARGE)
        client.delete_object(Bucket=bucket, Key="source")
    else:
        data = {"small": SMALL, "large": LARGE}.get(kind, b"")
        told, size = client.put_object(**where, Body=data)["ETag"], len(data)
    attributes = client.get_object_attributes(**where, ObjectAttributes=["ETag", "ObjectSize"])
    (first,) = client.list_objects(Bucket=bucket)["Contents"]
    (second,) = client.list_objects_v2(Bucket=bucket)["Contents"]
    (version,) = client.list_object_versions(Bucket=bucket)["Versions"]
    got, head = client.get_object(**where), client.head_object(**where)
    got["Body"].close()
    shown = [
        (got["ETag"], got["ContentLength"]),
        (head["ETag"], head["ContentLength"]),
        (first["ETag"], first["Size"]),
        (second["ETag"], second["Size"]),
        (version["ETag"], version["Size"]),
        (f'"{attributes["ETag"]}"', attributes["ObjectSize"]),
    ]
    assert shown == [(told, size)] * len(shown)
    for method in ("GET", "HEAD"):
        with Wire(endpoint) as wire:
            answer = wire.call(method, f"/{bucket}/{kind}", headers={"If-None-Match": told})
        # SeaweedFS looks at no condition on a marker.
        marker = kind.endswith("/") and endpoint.store.name == "seaweedfs"
        assert (answer.status, answer.headers["ETag"]) == (200 if marker else 304, told)
    assert client.head_object(**where, IfMatch=told)["ETag"] == told


# A large object is overwritten by a small one, and something of it stays.


def write(endpoint: Endpoint, bucket: str, key: str, kind: str) -> bytes:
    if kind == "multipart":
        upload(endpoint, bucket, key, {1: BIG, 2: SMALL})
        return BIG + SMALL
    data = {"empty": b"", "small": SMALL, "large": LARGE}[kind]
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=data)
    return data


@pytest.mark.parametrize("after", ["empty", "small", "large", "multipart"])
def test_nothing_of_the_object_before_shows(endpoint: Endpoint, bucket: str, after: str) -> None:
    client = s3(endpoint)
    for before in ("small", "large", "multipart"):
        key = f"{before}-{after}"
        write(endpoint, bucket, key, before)
        client.get_object(Bucket=bucket, Key=key)["Body"].close()
        data = write(endpoint, bucket, key, after)
        assert read(endpoint, bucket, key) == data
        head = client.head_object(Bucket=bucket, Key=key, PartNumber=1)
        parts = 2 if after == "multipart" else None
        assert (head.get("PartsCount"), head["ETag"].endswith('-2"')) == (parts, parts == 2)
        assert client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]["Size"] == len(data)
        with refused(416, "InvalidRange"):
            client.get_object(Bucket=bucket, Key=key, Range=f"bytes={len(data)}-")
        if data:
            assert client.get_object(Bucket=bucket, Key=key, Range="bytes=-3")["Body"].read() == data[-3:]


# What the proxy or the store keep for themselves shows.


def test_internals_show_in_no_listing(endpoint: Endpoint, bucket: str) -> None:
    client = s3(endpoint)
    enabled = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    for data in (SMALL, LARGE):
        client.put_object(Bucket=bucket, Key="dir/k", Body=data, Metadata={"colour": "blue"})
    upload(endpoint, bucket, "dir/parts", {1: BIG, 2: SMALL})
    client.delete_object(Bucket=bucket, Key="dir/parts")
    under_way = client.create_multipart_upload(Bucket=bucket, Key="dir/under-way")["UploadId"]
    client.upload_part(Bucket=bucket, Key="dir/under-way", UploadId=under_way, PartNumber=1, Body=SMALL)
    listed = client.list_object_versions(Bucket=bucket)
    versions = [(row["Key"], row["Size"], row["IsLatest"]) for row in listed["Versions"]]
    assert versions == [
        ("dir/k", len(LARGE), True),
        ("dir/k", len(SMALL), False),
        ("dir/parts", len(BIG + SMALL), False),
    ]
    assert [(row["Key"], row["IsLatest"]) for row in listed["DeleteMarkers"]] == [("dir/parts", True)]
    assert client.list_object_versions(Bucket=bucket, Delimiter="/")["CommonPrefixes"] == [{"Prefix": "dir/"}]
    for list_them in (client.list_objects, client.list_objects_v2):
        assert [row["Key"] for row in list_them(Bucket=bucket)["Contents"]] == ["dir/k"]
    assert [row["Key"] for row in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["dir/under-way"]
    head = client.head_object(Bucket=bucket, Key="dir/k")
    assert head["Metadata"] == {"colour": "blue"}
    raw = client.list_objects_v2(Bucket=bucket, FetchOwner=True)
    assert endpoint.store.access_key_id not in str((raw, listed, head))
    client.abort_multipart_upload(Bucket=bucket, Key="dir/under-way", UploadId=under_way)


# partNumber is ignored.


def test_a_part_number_is_one_part(endpoint: Endpoint, bucket: str) -> None:
    client = s3(endpoint)
    upload(endpoint, bucket, "k", {2: BIG, 7: SMALL})
    for number, data, place in ((1, BIG, f"0-{len(BIG) - 1}"), (2, SMALL, f"{len(BIG)}-{len(BIG) + 4}")):
        got = client.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert got["Body"].read() == data
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert (got["ContentRange"], got["PartsCount"]) == (f"bytes {place}/{len(BIG) + 5}", 2)
        head = client.head_object(Bucket=bucket, Key="k", PartNumber=number)
        assert (head["ContentLength"], head["PartsCount"]) == (len(data), 2)
    with refused(416, "InvalidPartNumber"):
        client.get_object(Bucket=bucket, Key="k", PartNumber=3)


# A header that asks for encryption is swallowed, or less is given than was asked for.


@pytest.mark.parametrize(
    "asked",
    [
        {SSE: "AES256"},
        {SSE: "aws:kms"},
        {SSE: "aws:kms:dsse"},
        {SSE: "aws:kms:none"},
        {SSE: "AES128"},
        {SSE: ""},
        {f"{SSE}-aws-kms-key-id": "alias/aws/s3"},
        {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": "no-such-key"},
        {SSE: "AES256", f"{SSE}-aws-kms-key-id": "alias/aws/s3"},
        {SSE: "aws:kms", f"{SSE}-context": "not base64"},
        {f"{SSE}-customer-algorithm": "AES256"},
        {f"{SSE}-customer-algorithm": "AES256", f"{SSE}-customer-key": base64.b64encode(bytes(32)).decode()},
    ],
    ids=lambda asked: ",".join(f"{name[28:]}={value}" for name, value in asked.items()),
)
def test_encryption_is_what_was_asked_for_or_refused(endpoint: Endpoint, asked: dict[str, str]) -> None:
    bucket, client = shared_bucket(endpoint), s3(endpoint)
    with Wire(endpoint) as wire:
        for method, key, query in (("PUT", new_key(), ()), ("POST", new_key(), [("uploads", "")])):
            answer = wire.call(method, f"/{bucket}/{key}", query, asked, SMALL if method == "PUT" else b"")
            if answer.status == 200:
                assert len(asked) == 1
                assert answer.headers[SSE] == asked[SSE]
            else:
                assert (answer.status, answer.code) != (None, None)
                assert 400 <= answer.status < 500 or answer.status == 501, answer.body
            if method == "PUT" and answer.status == 200:
                assert client.head_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == asked[SSE]
                stored = endpoint.store.client().get_object(Bucket=bucket, Key=key)["Body"].read()
                assert SMALL not in stored
            elif method == "PUT":
                assert not exists(endpoint, bucket, key)


# The checksum of the whole object comes with a range of it.


def test_a_range_has_no_checksum_of_the_whole(endpoint: Endpoint, bucket: str) -> None:
    client = s3(endpoint)
    client.put_object(Bucket=bucket, Key="single", Body=LARGE, ChecksumAlgorithm="SHA256")
    upload(endpoint, bucket, "multipart", {1: BIG, 2: SMALL})
    with Wire(endpoint) as wire:
        for key in ("single", "multipart"):
            for method in ("GET", "HEAD"):
                headers = {"x-amz-checksum-mode": "ENABLED", "Range": "bytes=0-9"}
                answer = wire.call(method, f"/{bucket}/{key}", headers=headers)
                assert answer.status == 206
                assert not [name for name in answer.headers if name.lower().startswith("x-amz-checksum-")]
    # boto3 checks what it is told: a wrong one would raise here.
    assert client.get_object(Bucket=bucket, Key="single", Range="bytes=0-9")["Body"].read() == LARGE[:10]
    assert read(endpoint, bucket, "single") == LARGE


# A 500, which SDKs send again, where AWS says 400.


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "content"),
    [
        ("PUT", "/{b}/k", [], {"Content-MD5": "x"}, b"x"),
        ("PUT", "/{b}/k", [], {"x-amz-checksum-crc32": "!"}, b"x"),
        ("PUT", "/{b}/k", [], {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "AAAAAA=="}, b"x"),
        ("PUT", "/{b}/k", [], {"x-amz-tagging": "a=1&a=2"}, b"x"),
        ("PUT", "/{b}/k", [], {"x-amz-tagging": "&".join(f"k{n}=v" for n in range(11))}, b"x"),
        ("PUT", "/{b}/k", [], {"x-amz-storage-class": "NO_SUCH_CLASS"}, b"x"),
        ("PUT", "/{b}/k", [], {"x-amz-object-lock-mode": "COMPLIANCE"}, b"x"),
        ("PUT", "/{b}/k", [], {SSE: "aws:kms", f"{SSE}-context": "e30"}, b"x"),
        ("PUT", "/{b}/k", [], {"x-amz-copy-source": "/"}, b""),
        ("PUT", "/{b}/k", [], {"x-amz-copy-source": "%ZZ"}, b""),
        ("PUT", "/{b}/k", [], {"x-amz-copy-source": "/{b}/none?versionId="}, b""),
        ("PUT", "/{b}/k", [("tagging", "")], {}, b"<Tagging>"),
        ("PUT", "/{b}/k", [("partNumber", "0"), ("uploadId", "none")], {}, b"x"),
        ("PUT", "/{b}/k", [("partNumber", "10001"), ("uploadId", "none")], {}, b"x"),
        ("PUT", "/{b}/k", [("partNumber", "one"), ("uploadId", "none")], {}, b"x"),
        ("PUT", "/{b}/" + "k" * 1025, [], {}, b"x"),
        ("POST", "/{b}/k", [("uploadId", "no/such\x00upload")], {}, b"<CompleteMultipartUpload/>"),
        ("POST", "/{b}/k", [("uploadId", "none")], {}, b"no xml"),
        ("POST", "/{b}", [("delete", "")], {}, b"<Delete></Delete>"),
        ("POST", "/{b}", [("delete", "")], {}, b"\xff\xfe"),
        ("GET", "/{b}/k", [("partNumber", "x")], {}, b""),
        ("GET", "/{b}/k", [("versionId", "no-such-version")], {}, b""),
        ("GET", "/{b}/k", [("versionId", "")], {}, b""),
        ("GET", "/{b}/k", [("uploadId", "none"), ("max-parts", "-1")], {}, b""),
        ("GET", "/{b}/k", [("attributes", "")], {"x-amz-object-attributes": "Colour"}, b""),
        ("GET", "/{b}", [("max-keys", "x")], {}, b""),
        ("GET", "/{b}", [("max-keys", "99999999999999999999")], {}, b""),
        ("GET", "/{b}", [("list-type", "2"), ("continuation-token", "x")], {}, b""),
        ("GET", "/{b}", [("encoding-type", "base64")], {}, b""),
        ("GET", "/{b}", [("versions", ""), ("version-id-marker", "x")], {}, b""),
        ("GET", "/{b}", [("uploads", ""), ("max-uploads", "x")], {}, b""),
        ("PUT", "/{b}", [("encryption", "")], {}, b"<ServerSideEncryptionConfiguration/>"),
        ("PUT", "/{b}", [("versioning", "")], {}, b"<VersioningConfiguration>"),
        ("PUT", "/no_such_form_of_name", [], {}, b""),
        ("DELETE", "/{b}/k", [("uploadId", "none")], {}, b""),
    ],
)
def test_a_faulty_request_is_the_client_s_fault(
    endpoint: Endpoint, method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], content: bytes
) -> None:
    bucket = shared_bucket(endpoint)
    named = {name: value.replace("{b}", bucket) for name, value in headers.items()}
    if query == [("delete", "")]:
        named["Content-MD5"] = md5(content)
    with Wire(endpoint) as wire:
        answer = wire.call(method, path.replace("{b}", bucket), query, named, content)
    assert 400 <= answer.status < 500, (answer.status, answer.body)
    assert answer.code


# A version that is not there is taken for the object.


def test_a_version_that_is_not_there_is_not_the_object(endpoint: Endpoint, bucket: str) -> None:
    client = s3(endpoint)
    client.put_object(Bucket=bucket, Key="k", Body=SMALL)
    version = {"Bucket": bucket, "Key": "k", "VersionId": "0123abcd-0123-4567-89ab-0123456789ab"}
    with refused(404, "NoSuchVersion"):
        client.get_object(**version)
    client.delete_object(**version)
    rows = [{"Key": "k", "VersionId": version["VersionId"]}]
    assert client.delete_objects(Bucket=bucket, Delete={"Objects": rows})["Deleted"][0]["Key"] == "k"
    with refused(404, "NoSuchVersion"):
        client.copy_object(Bucket=bucket, Key="copy", CopySource=version)
    assert read(endpoint, bucket, "k") == SMALL
    client.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert not exists(endpoint, bucket, "k")


# What a parameter's value says is taken for a sub-resource.


@pytest.mark.parametrize("word", ["uploads", "versions", "policy", "acl", "delete", "location", "encryption"])
def test_a_word_in_a_value_is_no_sub_resource(endpoint: Endpoint, word: str) -> None:
    bucket, key = shared_bucket(endpoint), f"{word}/{new_key()}"
    with Wire(endpoint) as wire:
        assert wire.call("PUT", f"/{bucket}/{key}", body=SMALL).status == 200
        for query in (
            [("prefix", f"{word}/")],
            [("prefix", key), ("marker", word)],
            [("list-type", "2"), ("prefix", key), ("start-after", word)],
            [("prefix", key), ("delimiter", f"?{word}")],
        ):
            answer = wire.call("GET", f"/{bucket}", query)
            assert answer.status == 200
            assert b"<ListBucketResult" in answer.body
            assert f"<Key>{key}</Key>".encode() in answer.body
        assert wire.call("GET", f"/{bucket}/{key}").body == SMALL
        assert wire.call("DELETE", f"/{bucket}/{key}").status == 204
    assert not exists(endpoint, bucket, key)


# One damaged object breaks a listing.


def test_a_damaged_object_hides_no_other(endpoint: Endpoint, bucket: str) -> None:
    client, store = s3(endpoint), endpoint.store.client()
    for key in ("a", "b-cut", "c-plain", "d-metadata", "e"):
        client.put_object(Bucket=bucket, Key=key, Body=LARGE)
    upload(endpoint, bucket, "f-parts", {1: BIG, 2: SMALL})
    stored = {key: store.get_object(Bucket=bucket, Key=key) for key in ("b-cut", "d-metadata", "f-parts")}
    bodies = {key: got["Body"].read() for key, got in stored.items()}
    store.put_object(Bucket=bucket, Key="b-cut", Body=bodies["b-cut"][:-1], Metadata=stored["b-cut"]["Metadata"])
    store.put_object(Bucket=bucket, Key="c-plain", Body=b"not encrypted")
    broken = dict.fromkeys(stored["d-metadata"]["Metadata"], "AAAA")
    store.put_object(Bucket=bucket, Key="d-metadata", Body=bodies["d-metadata"], Metadata=broken)
    store.put_object(Bucket=bucket, Key="f-parts", Body=bodies["f-parts"][1:], Metadata=stored["f-parts"]["Metadata"])
    keys = ["a", "b-cut", "c-plain", "d-metadata", "e", "f-parts"]
    for list_them, name in (
        (client.list_objects, "Contents"),
        (client.list_objects_v2, "Contents"),
        (client.list_object_versions, "Versions"),
    ):
        rows = {row["Key"]: row["Size"] for row in list_them(Bucket=bucket)[name]}
        assert list(rows) == keys
        assert rows["a"] == rows["e"] == len(LARGE)
    for key in keys[1:4] + keys[5:]:
        with Wire(endpoint) as wire:
            answer = wire.call("GET", f"/{bucket}/{key}")
        assert answer.status >= 500 or not answer.complete, key
    assert read(endpoint, bucket, "a") == read(endpoint, bucket, "e") == LARGE
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


# Keys are skipped or repeated across pages.

KEYS = ["a/b+c", "a/c/d", "a/e", "b/%2F", "b/<&>", "b/ü", "c/1", "c/2", "c/3", "d/"]
BESIDE_FOLDERS = ["a b/c", "a+b/c", "a-/b", "a/+b/c", "a/b c", "a/b+", "a/b/c/d", "a/b1/c", "a/b2", "b&c", "b/ü", "d/"]
"""What follows a folder's name comes before what is in it, in the order of keys."""


@pytest.mark.parametrize("versioned", [False, True])
def test_pages_neither_skip_nor_repeat(endpoint: Endpoint, versioned: bool) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint)
    # SeaweedFS goes through folders by their own names, and sorts what it has gathered.
    keys = BESIDE_FOLDERS if endpoint.store.name != "seaweedfs" else KEYS
    folders = sorted({f"{key.partition('/')[0]}/" for key in keys if "/" in key}, key=str.encode)
    if versioned:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"" if key.endswith("/") else SMALL)
    for name, member in (
        ("list_objects", "Contents"),
        ("list_objects_v2", "Contents"),
        ("list_object_versions", "Versions"),
    ):
        paginate = client.get_paginator(name).paginate
        for size in (1, 2, 3, 5, 1000):
            pages = list(paginate(Bucket=bucket, PaginationConfig={"PageSize": size}))
            assert [row["Key"] for page in pages for row in page.get(member, [])] == keys, (name, size)
            assert all(len(page[member]) == size for page in pages[:-1])
            grouped = paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size})
            prefixes = [row["Prefix"] for page in grouped for row in page.get("CommonPrefixes", [])]
            assert prefixes == folders, (name, size)
