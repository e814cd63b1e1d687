"""ListObjectVersions: what each store answers, page by page, is what was done to the bucket."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.samples import MIB, body, new_bucket, refused, s3, upload
from tests.e2e.stores import Endpoint

KMS = {"ServerSideEncryption": "aws:kms"}
NAMES = ("a", "a-1", "a.gz", "a0", "d/e", "d/e.txt", "d/f", "d2/x", "z +%&<é", "é")
"""Among them names that begin like others and go on with what sorts before and after ``.`` and ``/``."""


@dataclass
class Written:
    """The versions of a bucket as they were made, the newest first, by key: id, bytes (None: a delete marker), ETag."""

    versions: dict[str, list[tuple[str, bytes | None, str]]] = field(default_factory=dict)

    def add(self, key: str, version: tuple[str, bytes | None, str]) -> None:
        kept = self.versions.setdefault(key, [])
        if version[0] == "null":
            kept[:] = [old for old in kept if old[0] != "null"]
        kept.insert(0, version)

    def is_there(self, key: str) -> bool:
        """Whether its latest version is an object."""
        return key in self.versions and self.versions[key][0][1] is not None

    def listed(self, prefix: str, delimiter: str) -> list[tuple[Any, ...]]:
        """What a listing has: key, id, whether it is the latest, size and ETag; or a common prefix alone."""
        found: list[tuple[Any, ...]] = []
        for key in sorted(self.versions, key=str.encode):
            if not key.startswith(prefix):
                continue
            head, behind, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if behind:
                if (prefix + head + behind,) not in found[-1:]:
                    found.append((prefix + head + behind,))
                continue
            for place, (version_id, data, etag) in enumerate(self.versions[key]):
                shown = (None, None) if data is None else (len(data), etag)
                found.append((key, version_id, place == 0, *shown))
        return found


def versioning(endpoint: Endpoint, bucket: str, status: str) -> None:
    s3(endpoint).put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


def fill(endpoint: Endpoint, bucket: str, names: tuple[str, ...], *, delete_suspended: bool = True) -> Written:
    """Writes and deletes before versioning, with it, and while it is suspended."""
    client, chance, written = s3(endpoint), random.Random(7), Written()

    def put(key: str) -> None:
        data = body(chance.choice((0, 3, 70_000)), chance.randrange(3))
        answer = client.put_object(Bucket=bucket, Key=key, Body=data, **chance.choice(({}, KMS)))
        written.add(key, (answer.get("VersionId", "null"), data, answer["ETag"]))

    for key in names[::3]:
        put(key)
    for status in ("Enabled", "Suspended"):
        versioning(endpoint, bucket, status)
        for key in names * (3 if status == "Enabled" else 1):
            if chance.random() < 0.6:
                put(key)
            elif status == "Enabled" or (delete_suspended and written.is_there(key)):
                answer = client.delete_object(Bucket=bucket, Key=key)
                # MinIO does not tell of the marker that it makes while versioning is suspended.
                written.add(key, (answer.get("VersionId", "null"), None, ""))
    return written


def listed(endpoint: Endpoint, bucket: str, **wanted: Any) -> list[tuple[Any, ...]]:
    """All pages, as ``Written.listed`` has them; boto3 follows the markers."""
    found: list[tuple[Any, ...]] = []
    pages = s3(endpoint).get_paginator("list_object_versions").paginate(Bucket=bucket, **wanted)
    for number, page in enumerate(pages):
        assert number < 500
        rows = [
            (row["Key"], row["VersionId"], row["IsLatest"], row["Size"], row["ETag"])
            for row in page.get("Versions", [])
        ]
        rows += [(row["Key"], row["VersionId"], row["IsLatest"], None, None) for row in page.get("DeleteMarkers", [])]
        places = {row: place for place, row in enumerate(rows)}
        shown = [*rows, *((row["Prefix"],) for row in page.get("CommonPrefixes", []))]
        assert len(shown) <= page["MaxKeys"]
        # boto3 tells versions, delete markers and prefixes apart; within a key the order is looked at by itself.
        found += sorted(shown, key=lambda row: (row[0].encode(), places.get(row, 0)))
    return found


def same(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> bool:
    """Whether two listings are alike; boto3 does not say where a delete marker stands among a key's versions."""
    alike = sorted(map(repr, found)) == sorted(map(repr, expected)) and len(set(found)) == len(found)

    def without_markers(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        return [row for row in rows if row[-1] is not None]

    return alike and without_markers(found) == without_markers(expected)


def test_pages_together_are_what_was_written(endpoint: Endpoint, store_name: str) -> None:
    bucket = new_bucket(endpoint)
    # MinIO hides a key under another one that is a key itself.
    written = fill(endpoint, bucket, NAMES if store_name == "minio" else (*NAMES, "a/b", "d", "d/e/f"))
    assert any(len(versions) > 3 for versions in written.versions.values())
    for prefix, delimiter in (("", ""), ("", "/"), ("", "-"), ("a", ""), ("a", "/"), ("d/", "e")):
        for count in (1, 3, 1000) if delimiter == "" else (2, 7):
            paging = {"PaginationConfig": {"PageSize": count}}
            found = listed(endpoint, bucket, Prefix=prefix, Delimiter=delimiter, **paging)
            expected = written.listed(prefix, delimiter)
            assert same(found, expected), (prefix, delimiter, count, set(found) ^ set(expected))


def test_paging_goes_on_where_the_page_before_has_been_deleted(endpoint: Endpoint) -> None:
    """As whoever empties a bucket does it."""
    bucket, client = new_bucket(endpoint), s3(endpoint)
    # A delete marker from when versioning was suspended can't be removed from SeaweedFS 4.48, whatever it answers.
    written = fill(endpoint, bucket, NAMES[:6], delete_suspended=False)
    pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 3})
    deleted: list[tuple[str, str]] = []
    for page in pages:
        rows = [(row["Key"], row["VersionId"]) for row in page.get("Versions", []) + page.get("DeleteMarkers", [])]
        objects = [{"Key": key, "VersionId": version_id} for key, version_id in rows]
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": objects})
        assert "Errors" not in answer
        deleted += rows
    everything = {(key, version[0]) for key, versions in written.versions.items() for version in versions}
    assert sorted(deleted) == sorted(everything)
    client.delete_bucket(Bucket=bucket)


def test_every_kind_of_object(endpoint: Endpoint) -> None:
    bucket, client = new_bucket(endpoint), s3(endpoint)
    versioning(endpoint, bucket, "Enabled")
    small = client.put_object(Bucket=bucket, Key="k", Body=b"small")
    done, _ = upload(endpoint, bucket, "k", {1: body(5 * MIB), 4: b"end"}, **KMS)
    large = client.put_object(Bucket=bucket, Key="k", Body=body(MIB + 1), **KMS)
    client.create_multipart_upload(Bucket=bucket, Key="under-way")
    expected = [
        ("k", large["VersionId"], True, MIB + 1, large["ETag"]),
        ("k", done["VersionId"], False, 5 * MIB + 3, done["ETag"]),
        ("k", small["VersionId"], False, 5, small["ETag"]),
    ]
    assert listed(endpoint, bucket) == expected
    page = client.list_object_versions(Bucket=bucket)
    assert {"Name", "Prefix", "MaxKeys", "IsTruncated"} <= page.keys()
    assert "NextKeyMarker" not in page


@pytest.mark.parametrize("prefix", ["uploads/", "versions", ".versions", "k.v", ".uploads"])
def test_prefixes_like_words_of_the_store_or_of_s3(endpoint: Endpoint, prefix: str) -> None:
    bucket, client = new_bucket(endpoint), s3(endpoint)
    versioning(endpoint, bucket, "Enabled")
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    keys = [] if prefix == ".uploads" else [f"{prefix}x"]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"y")
    client.create_multipart_upload(Bucket=bucket, Key="under-way")
    assert [row[0] for row in listed(endpoint, bucket, Prefix=prefix)] == keys
    assert [row[0] for row in listed(endpoint, bucket)] == sorted([*keys, "k"])


def test_one_damaged_version_hides_no_other(endpoint: Endpoint) -> None:
    bucket, client = new_bucket(endpoint), s3(endpoint)
    versioning(endpoint, bucket, "Enabled")
    client.put_object(Bucket=bucket, Key="k", Body=b"first")
    endpoint.store.client().put_object(Bucket=bucket, Key="k", Body=b"foreign")
    last = client.put_object(Bucket=bucket, Key="k", Body=b"last")
    found = listed(endpoint, bucket)
    assert [row[3] for row in found] == [4, 7, 5]
    assert found[0] == ("k", last["VersionId"], True, 4, last["ETag"])
    with refused(500, "InternalError"):
        client.get_object(Bucket=bucket, Key="k", VersionId=found[1][1])


def test_parameters_that_make_no_sense(endpoint: Endpoint) -> None:
    bucket, client = new_bucket(endpoint), s3(endpoint)
    message = "A version-id marker cannot be specified without a key marker."
    with refused(400, "InvalidArgument", message):
        client.list_object_versions(Bucket=bucket, VersionIdMarker="null")
    with refused(400, "InvalidArgument"):
        client.list_object_versions(Bucket=bucket, MaxKeys=-1)
    page = client.list_object_versions(Bucket=bucket, MaxKeys=0)
    assert (page["MaxKeys"], page["IsTruncated"]) == (0, False)
