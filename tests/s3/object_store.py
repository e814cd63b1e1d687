"""A store of objects in memory behind the Upstream port, and a gateway over it with the real key service."""

import hashlib
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import parse_qsl, quote

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.credentials import StoreCredentials
from proxy.aws.message import Request, Response, decode_percent
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.service import KeyService
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.s3.gateway import Call, Gateway, Settings, Target
from proxy.s3.memory import MemoryBudget
from proxy.s3.operation import Operation
from proxy.s3.state.memory import MemoryState
from proxy.s3.state.ports import BucketRecord, EncryptionRule
from proxy.s3.upstream.profiles import StoreProfile
from proxy.stream import Buffer, read_all
from tests.fakes import FakeClock, FakeRandom
from tests.s3.fakes import ACCOUNT, make_call, store_error

COPY_SOURCE = "x-amz-copy-source"
PIECE = 50_000
"""How many bytes at a time the store gives a body out."""


@dataclass
class StoredObject:
    body: bytes
    headers: dict[str, str]
    etag: str = ""
    parts: dict[int, bytes] = field(default_factory=dict)
    """Of a plaintext multipart object."""
    version_id: str | None = None
    """None in a bucket that never kept versions."""

    def __post_init__(self) -> None:
        self.etag = self.etag or f'"{hashlib.md5(self.body).hexdigest()}"'


@dataclass
class ObjectStore:
    """Objects by path, uploads by id. ``sent`` is what was asked, bodies left out."""

    keeps_parts: bool = False
    """Whether CopyObject gives the copy of a multipart object the ETag of one."""
    objects: dict[str, StoredObject] = field(default_factory=dict)
    uploads: dict[str, tuple[dict[str, str], dict[int, StoredObject]]] = field(default_factory=dict)
    sent: list[Request] = field(default_factory=list)
    asked_as: list[StoreCredentials | None] = field(default_factory=list)
    """With whose credentials, but for the gateway's own."""

    async def send(self, request: Request) -> Response:
        body = await read_all(request.body, 2**30)
        self.sent.append(replace(request, body=b""))
        path = decode_percent(request.path)
        match request.method, request.parameter("uploadId"), request.query:
            case "POST", _, "uploads":
                upload_id = f"upload-{len(self.sent)}"
                self.uploads[upload_id] = (kept(request), {})
                document = {"Bucket": "b", "Key": "k", "UploadId": upload_id}
                return Response(200, body=xml_codec.render("InitiateMultipartUploadResult", document))
            case "GET", _, query if query.startswith("versions&"):
                return self._versions(path, request)
            case "GET", _, "tagging":
                pairs = parse_qsl(self.objects[path].headers.get("x-amz-tagging", ""), keep_blank_values=True)
                rows = [{"Key": name, "Value": value} for name, value in pairs]
                return Response(200, body=xml_codec.render("Tagging", {"TagSet": {"Tag": rows}}))
            case "PUT", str(upload_id), _ if COPY_SOURCE in request.headers:
                return self._copy_part(request, upload_id)
            case "PUT", None, _ if COPY_SOURCE in request.headers:
                return self._copy(path, request)
            case "PUT", str(upload_id), _:
                part = StoredObject(body, {})
                self.uploads[upload_id][1][int(request.parameter("partNumber") or "")] = part
                return Response(200, CIMultiDict({"ETag": part.etag}))
            case "GET", str(upload_id), _:
                if upload_id not in self.uploads:
                    return store_error(404, "NoSuchUpload")
                return self._parts(upload_id, int(request.parameter("part-number-marker") or 0))
            case "DELETE", str(upload_id), _:
                if self.uploads.pop(upload_id, None) is None:
                    return store_error(404, "NoSuchUpload")
                return Response(204)
            case "POST", str(upload_id), _:
                return self._complete(path, upload_id, request, body)
            case "PUT", None, _:
                return self._put(path, request, body)
        return self._read(path, request)

    def asking_as(self, credentials: StoreCredentials | None) -> Self:
        self.asked_as.append(credentials)
        return self

    async def aclose(self) -> None:
        """There is nothing to close."""

    def _versions(self, path: str, request: Request) -> Response:
        prefix = f"{path}/{request.parameter('prefix') or ''}"
        rows = [
            {
                "Key": quote(name.removeprefix(f"{path}/")),
                "VersionId": "null",
                "IsLatest": True,
                "LastModified": "2026-11-23T06:00:00.000Z",
                "ETag": found.etag,
                "Size": len(found.body),
                "StorageClass": "STANDARD",
            }
            for name, found in sorted(self.objects.items())
            if name.startswith(prefix)
        ]
        document = {"EncodingType": "url", "IsTruncated": False, "Version": rows}
        return Response(200, body=xml_codec.render("ListVersionsResult", document))

    def _put(self, path: str, request: Request, body: bytes) -> Response:
        if request.headers.get("If-None-Match") == "*" and path in self.objects:
            return store_error(412, "PreconditionFailed")
        condition = request.headers.get("If-Match")
        if condition is not None and (path not in self.objects or self.objects[path].etag != condition):
            return store_error(412, "PreconditionFailed")
        assert request.headers["Content-Length"] == str(len(body))
        self.objects[path] = StoredObject(body, kept(request))
        return Response(200, CIMultiDict({"ETag": self.objects[path].etag}))

    def _source(self, request: Request) -> StoredObject | Response:
        found = self.objects.get(decode_percent(request.headers[COPY_SOURCE]))
        if found is None:
            return store_error(404, "NoSuchKey")
        if request.headers.get(f"{COPY_SOURCE}-if-match", found.etag) != found.etag:
            return store_error(412, "PreconditionFailed")
        return found

    def _copy(self, path: str, request: Request) -> Response:
        assert request.headers["x-amz-metadata-directive"] == "REPLACE"
        assert request.headers["x-amz-tagging-directive"] == "REPLACE"
        source = self._source(request)
        if isinstance(source, Response):
            return source
        if request.headers.get("If-None-Match") == "*" and path in self.objects:
            return store_error(412, "PreconditionFailed")
        self.objects[path] = StoredObject(source.body, kept(request), source.etag if self.keeps_parts else "")
        result = {"ETag": self.objects[path].etag.strip('"'), "LastModified": "2026-11-23T06:00:01.5Z"}
        return Response(200, body=xml_codec.render("CopyObjectResult", result))

    def _copy_part(self, request: Request, upload_id: str) -> Response:
        source = self._source(request)
        if isinstance(source, Response):
            return source
        start, _, end = request.headers[f"{COPY_SOURCE}-range"].removeprefix("bytes=").partition("-")
        part = StoredObject(source.body[int(start) : int(end) + 1], {})
        self.uploads[upload_id][1][int(request.parameter("partNumber") or "")] = part
        return Response(200, body=xml_codec.render("CopyPartResult", {"ETag": part.etag}))

    def _parts(self, upload_id: str, marker: int) -> Response:
        """In pages of two."""
        later = [item for item in sorted(self.uploads[upload_id][1].items()) if item[0] > marker]
        moment = "2026-11-23T06:00:00Z"
        rows = [{"PartNumber": number, "ETag": part.etag, "LastModified": moment} for number, part in later]
        document = {"StorageClass": "STANDARD_IA", "IsTruncated": len(rows) > 2, "Part": rows[:2]}
        return Response(200, body=xml_codec.render("ListPartsResult", document))

    def _complete(self, path: str, upload_id: str, request: Request, body: bytes) -> Response:
        if upload_id not in self.uploads:
            return store_error(404, "NoSuchUpload")
        if request.headers.get("If-None-Match") == "*" and path in self.objects:
            return store_error(412, "PreconditionFailed")
        headers, parts = self.uploads[upload_id]
        named = xml_codec.parse(body, "CompleteMultipartUpload", lists=["Part"], max_elements=100_000)["Part"]
        chosen = [parts[int(row["PartNumber"])] for row in named]
        if [row["ETag"] for row in named] != [part.etag for part in chosen]:
            return store_error(400, "InvalidPart")
        del self.uploads[upload_id]
        whole = b"".join(part.body for part in chosen)
        etag = f'"{hashlib.md5(whole).hexdigest()}-{len(chosen)}"'
        self.objects[path] = StoredObject(whole, headers, etag)
        return Response(200, body=xml_codec.render("CompleteMultipartUploadResult", {"ETag": etag}))

    def _read(self, path: str, request: Request) -> Response:
        found = self.objects.get(path)
        if found is None:
            return store_error(404, "NoSuchKey") if request.method == "GET" else Response(404)
        count = len(parse_qsl(found.headers.get("x-amz-tagging", ""), keep_blank_values=True))
        tags = {"x-amz-tagging-count": str(count)} if count else {}
        headers = CIMultiDict(
            {**found.headers, **tags, "ETag": found.etag, "Last-Modified": "Mon, 23 Nov 2026 06:00:00 GMT"}
        )
        if found.version_id is not None:
            headers["x-amz-version-id"] = found.version_id
        if request.headers.get("If-Match", found.etag) != found.etag:
            return store_error(412, "PreconditionFailed")
        if request.headers.get("If-None-Match") in {found.etag, "*"}:
            return Response(304, headers)
        start, end, status = 0, len(found.body) - 1, 200
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
        if wanted is not None:
            status = 206
            if wanted[1]:
                start, end = int(wanted[1]), min(int(wanted[2] or end), end)
            else:
                start = max(len(found.body) - int(wanted[2]), 0)
            if start >= len(found.body):
                return store_error(416, "InvalidRange")
            headers["Content-Range"] = f"bytes {start}-{end}/{len(found.body)}"
        number = int(request.parameter("partNumber") or 0)
        if number:
            if number not in found.parts:
                return store_error(416, "InvalidPartNumber") if request.method == "GET" else Response(416)
            start = sum(len(found.parts[before]) for before in range(1, number))
            end, status = start + len(found.parts[number]) - 1, 206
            headers["Content-Range"] = f"bytes {start}-{end}/{len(found.body)}"
            headers["x-amz-mp-parts-count"] = str(len(found.parts))
        headers["Content-Length"] = str(end + 1 - start)
        if request.method == "HEAD":
            return Response(status if number else 200, headers)
        return Response(status, headers, pieces(found.body[start : end + 1]))


def kept(request: Request) -> dict[str, str]:
    """What a store keeps of the head of a PUT."""
    return {
        name: value
        for name, value in request.headers.items()
        if name.lower().startswith("x-amz-meta-")
        or name in ("Content-Type", "Content-Encoding", "Cache-Control", "x-amz-storage-class", "x-amz-tagging")
    }


async def pieces(body: bytes) -> AsyncGenerator[Buffer, None]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


@dataclass
class World:
    """A gateway over a store and the real key service, both in memory, and one bucket to use."""

    gateway: Gateway
    store: ObjectStore
    keys: KeyService
    bucket: BucketRecord
    secure: bool = False
    """Whether calls come over TLS."""

    async def do(
        self, operation: Operation, query: str = "", *, key: str = "k", body: bytes = b"", **headers: str
    ) -> Response:
        """The answer of an operation, with its body read. Header names with ``_`` for ``-``."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        target = Target(self.bucket.name, key)
        call = make_call(
            operation.method, target, query, headers=fields, body=body, record=self.bucket, secure=self.secure
        )
        answer = await operation.run(self.gateway, call)
        return replace(answer, body=await read_all(answer.body, 2**30))

    def call(self, operation: Operation, query: str = "", *, key: str = "k", body: bytes = b"") -> Call:
        return make_call(operation.method, Target(self.bucket.name, key), query, body=body, record=self.bucket)

    @property
    def stored(self) -> StoredObject:
        """What lies under the key ``k``."""
        return self.store.objects["/b/k"]


async def make_world(*, mixed: bool = False, rule: EncryptionRule | None = None, md5_etags: bool = True) -> World:
    clock, random = FakeClock(), FakeRandom()
    keys = KeyService(MemoryKeyStore(), LocalRootKey(b"r" * 32, random), clock, random)
    await keys.start()
    state, store = MemoryState(), ObjectStore()
    gateway = Gateway(
        keys=EmbeddedKeyProvider(keys),
        upstream=store,
        short_reads=store,
        buckets=state.buckets,
        uploads=state.uploads,
        objects=state.objects,
        clock=clock,
        random=random,
        memory=MemoryBudget(64 * 1024 * 1024),
        settings=Settings(store=StoreProfile(), md5_etags=md5_etags),
    )
    bucket = BucketRecord("b", ACCOUNT, "eu-west-1", clock(), rule or EncryptionRule(), mixed=mixed)
    await gateway.buckets.put(bucket)
    return World(gateway, store, keys, bucket)
