"""A store in memory behind the Upstream port, and a gateway and calls to run operations with."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.credentials import Caller, StoreCredentials
from proxy.aws.message import Peer, Request, Response, decode_percent
from proxy.aws.sigv4 import Scope, Verified
from proxy.kms.provider import KeyProvider
from proxy.s3.gateway import Call, Gateway, Settings, Target
from proxy.s3.listings.object_listing import encode_key
from proxy.s3.memory import MemoryBudget
from proxy.s3.state.memory import MemoryState
from proxy.s3.state.ports import BucketRecord
from proxy.s3.upstream.profiles import StoreProfile
from proxy.stream import read_all
from tests.fakes import FakeClock, FakeRandom

ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"

EVERYTHING: tuple[Mapping[str, Any], ...] = (
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]},
)
"""A policy that allows all there is."""


@dataclass
class StoredThing:
    """An object: its stored size and ETag are all that these tests look at."""

    size: int
    etag: str
    modified: str = "2026-11-23T06:00:00.000Z"


@dataclass
class FakeUpstream:
    """Buckets of objects that can be listed and deleted, and whatever documents sub-resources were given.

    ``answers`` come first, in order, whatever is asked; ``sent`` is what was asked.
    """

    buckets: dict[str, dict[str, StoredThing]] = field(default_factory=dict)
    documents: dict[tuple[str, str], bytes] = field(default_factory=dict)
    answers: list[Response] = field(default_factory=list)
    sent: list[Request] = field(default_factory=list)
    asked_as: list[StoreCredentials | None] = field(default_factory=list)
    """With whose credentials, but for the gateway's own."""

    async def send(self, request: Request) -> Response:
        request = Request(
            request.method, request.path, request.query, request.headers, await read_all(request.body, 2**30)
        )
        self.sent.append(request)
        if self.answers:
            return self.answers.pop(0)
        bucket, _, key = decode_percent(request.path)[1:].partition("/")
        sub_resources = [name for name, value in request.parameters if not value]
        if sub_resources and sub_resources != ["versions"] and sub_resources != ["delete"]:
            return self._document(request, bucket, sub_resources[0])
        if key:
            return self._object(request, bucket, key)
        return self._bucket(request, bucket)

    def asking_as(self, credentials: StoreCredentials | None) -> Self:
        self.asked_as.append(credentials)
        return self

    async def aclose(self) -> None:
        """There is nothing to close."""

    def _document(self, request: Request, bucket: str, name: str) -> Response:
        if request.method == "PUT":
            assert isinstance(request.body, bytes)
            self.documents[bucket, name] = request.body
            return Response(200)
        if request.method == "DELETE":
            self.documents.pop((bucket, name), None)
            return Response(204)
        if (bucket, name) not in self.documents:
            return store_error(404, f"NoSuch{name}")
        return Response(200, CIMultiDict({"Server": "FakeStore"}), self.documents[bucket, name])

    def _object(self, request: Request, bucket: str, key: str) -> Response:
        assert request.method == "DELETE"
        self.buckets[bucket].pop(key, None)
        return Response(204, CIMultiDict({"Server": "FakeStore", "x-minio-internal": "1"}))

    def _bucket(self, request: Request, bucket: str) -> Response:
        there = bucket in self.buckets
        match request.method:
            case "HEAD":
                return Response(200 if there else 404)
            case "PUT" if there:
                return store_error(409, "BucketAlreadyOwnedByYou")
            case "PUT":
                self.buckets[bucket] = {}
                return Response(200)
            case _ if not there:
                return store_error(404, "NoSuchBucket")
            case "DELETE" if self.buckets[bucket]:
                return store_error(409, "BucketNotEmpty")
            case "DELETE":
                del self.buckets[bucket]
                return Response(204)
            case "POST":
                return self._delete_objects(request, bucket)
        return self._list(request, bucket)

    def _delete_objects(self, request: Request, bucket: str) -> Response:
        assert isinstance(request.body, bytes)
        assert request.headers["Content-MD5"] == base64.b64encode(hashlib.md5(request.body).digest()).decode()
        content = xml_codec.parse(request.body, "Delete", lists=("Object",))
        for item in content["Object"]:
            self.buckets[bucket].pop(item["Key"], None)
        deleted = [{"Key": item["Key"], "VersionId": item.get("VersionId")} for item in content["Object"]]
        return Response(200, body=xml_codec.render("DeleteResult", {"Deleted": deleted}))

    def _list(self, request: Request, bucket: str) -> Response:
        if request.parameter("versions") is not None:
            return Response(200, body=xml_codec.render("ListVersionsResult", {"IsTruncated": False}))
        parameter = request.parameter
        prefix, delimiter = parameter("prefix") or "", parameter("delimiter")
        after, count = parameter("start-after") or "", int(parameter("max-keys") or 1000)
        shown: dict[tuple[str, str], dict[str, Any]] = {}
        objects = self.buckets[bucket]
        truncated = False
        for key in sorted(objects, key=lambda key: key.encode("utf-8", "surrogateescape")):
            if not key.startswith(prefix) or _order(key) <= _order(after):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            item: tuple[str, str] = ("CommonPrefixes", prefix + head + found) if found else ("Contents", key)
            if item not in shown and len(shown) == count:
                truncated = True
                break
            shown.setdefault(item, self._element(item, objects[key]))
        content: dict[str, Any] = {"IsTruncated": truncated, "Name": "store-name", "NextContinuationToken": "theirs"}
        for kind in ("Contents", "CommonPrefixes"):
            content[kind] = [element for (name, _), element in shown.items() if name == kind]
        return Response(200, body=xml_codec.render("ListBucketResult", content))

    @staticmethod
    def _element(item: tuple[str, str], thing: StoredThing) -> dict[str, Any]:
        kind, name = item
        if kind == "CommonPrefixes":
            return {"Prefix": encode_key(name)}
        owner = {"ID": "store-owner", "DisplayName": "store-owner"}
        return {
            "Key": encode_key(name),
            "LastModified": thing.modified,
            "ETag": thing.etag,
            "Size": thing.size,
            "Owner": owner,
        }


def _order(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def store_error(status: int, code: str, **members: str) -> Response:
    """An error as a store says it, with names of its own in it."""
    content = {
        "Code": code,
        "Message": f"{code}.",
        "Resource": "/internal",
        "RequestId": "THEIRS",
        "HostId": "store-1.internal",
        **members,
    }
    return Response(status, CIMultiDict({"Server": "FakeStore"}), xml_codec.render("Error", content, namespace=None))


class NoKeys:
    """Operations on buckets and listings never ask for a key."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the key service was asked to {name}")


def make_gateway(upstream: FakeUpstream | None = None, **profile: Any) -> Gateway:
    state = MemoryState()
    keys: KeyProvider = NoKeys()
    store = upstream or FakeUpstream()
    return Gateway(
        keys=keys,
        upstream=store,
        short_reads=store,
        buckets=state.buckets,
        uploads=state.uploads,
        objects=state.objects,
        clock=FakeClock(),
        random=FakeRandom(),
        memory=MemoryBudget(64 * 1024 * 1024),
        settings=Settings(store=StoreProfile(**profile)),
    )


def caller(account: str = ACCOUNT, policies: tuple[Mapping[str, Any], ...] = EVERYTHING) -> Caller:
    return Caller(account, f"arn:aws:iam::{account}:user/tester", "AIDAEXAMPLE", "AKIAEXAMPLE", policies)


def make_call(
    method: str,
    target: Target,
    query: str = "",
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    record: BucketRecord | None = None,
    account: str = ACCOUNT,
    region: str = "us-east-1",
    secure: bool = False,
) -> Call:
    """A call as the endpoint hands it to an operation, with the payload's hash signed."""
    digest = hashlib.sha256(body).hexdigest()
    sent = CIMultiDict({"Content-Length": str(len(body)), "x-amz-content-sha256": digest, **(headers or {})})
    who = caller(account)
    scope = Scope("20261123", region, "s3")
    verified = Verified(who, scope, "20261123T060000Z", "0" * 64, b"k" * 32, digest, False)
    peer = Peer("192.0.2.1", secure=True) if secure else None
    return Call(Request(method, target.path, query, sent, body, peer), target, who, verified, "REQUESTID", record)
