"""What handling a request of 4 KiB costs in process, without HTTP and the store: with its code and data in the
processor's caches, and after as many MiB of other memory were used, as happens between a real server's requests.

Run: ``python -m tests.bench.bench_handling`` (``--profile`` shows where the time goes). Prints medians in microseconds.
State, keys and audit log are on disk; the caller is a user with policies, the key a customer managed one.
"""

import argparse
import cProfile
import os
import pstats
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

import uvloop
from multidict import CIMultiDict

from proxy.audit.log import AuditLog
from proxy.aws.credentials import AccessKey, Caller, StoreCredentials
from proxy.aws.message import Peer, Request, Response
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.service import KeyService
from proxy.kms.stores.sqlite import SqliteKeyStore
from proxy.s3.gateway import Gateway
from proxy.s3.memory import MemoryBudget
from proxy.s3.operations.table import ROUTES
from proxy.s3.state.ports import BucketRecord, EncryptionRule
from proxy.s3.state.sqlite import SqliteState
from proxy.server.access_log import AccessLog
from proxy.server.endpoint import Endpoint
from proxy.server.s3 import S3Service
from proxy.stream import read_all
from proxy.sts.credentials import Credentials
from proxy.sts.principals import Principals
from proxy.sts.service import StsService
from proxy.sts.session_keys import SessionKeys
from tests.bench.bench_decrypt import ACCOUNT, REGION, USER, new_key
from tests.bench.load import Pieces
from tests.bench.signing import Account
from tests.e2e.wire import Signer

BUCKET: Final = "a-bucket-with-a-name"
SIZE: Final = 4096
OBJECTS: Final = 100
ROUNDS: Final = 10
OTHER_MEMORY: Final = (0, 1, 2, 8)
"""MiB."""


@dataclass
class OneAnswer:
    """A store that keeps what is put and gives it back as SeaweedFS does."""

    kept: dict[str, tuple[list[tuple[str, str]], bytes]] = field(default_factory=dict)

    async def send(self, request: Request) -> Response:
        etag = ("ETag", '"d41d8cd98f00b204e9800998ecf8427e"')
        if request.method == "PUT":
            metadata = [item for item in request.headers.items() if item[0].lower().startswith("x-amz-meta-")]
            self.kept[request.path] = metadata, await read_all(request.body, 2**20)
            return Response(200, CIMultiDict([("Content-Length", "0"), etag]), b"")
        metadata, body = self.kept[request.path]
        fields = [
            ("Accept-Ranges", "bytes"),
            ("Content-Length", str(len(body))),
            ("Content-Type", "application/octet-stream"),
            ("Last-Modified", "Sat, 28 Nov 2026 06:00:00 GMT"),
            ("X-Amz-Request-Id", "0123456789ABCDEF"),
        ]
        return Response(200, CIMultiDict([*fields, *metadata, etag]), body)

    def asking_as(self, credentials: StoreCredentials | None) -> Self:
        return self

    async def aclose(self) -> None:
        """There is nothing to close."""


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def endpoint(folder: Path, signer: Signer) -> AsyncIterator[Endpoint]:
    """As ``proxy.app`` makes it, but for the store."""
    caller: Caller = USER.caller
    principals = Principals([AccessKey(signer.access_key_id, signer.secret, caller)])
    key_store, root_key = SqliteKeyStore(folder / "keys.db"), LocalRootKey(bytes(32), os.urandom)
    keys = KeyService(key_store, root_key, now, os.urandom, principals=principals)
    await keys.start()
    audit = keys.audit = AuditLog(folder / "audit", "worker-1", bytes(32), now, os.urandom)
    state, store = SqliteState(folder / "state.db", watch=True), OneAnswer()
    rule = EncryptionRule("aws:kms", await new_key(keys))
    await state.buckets.put(BucketRecord(BUCKET, ACCOUNT, REGION, now(), rule))
    gateway = Gateway(
        EmbeddedKeyProvider(keys),
        store,
        store,
        state.buckets,
        state.uploads,
        state.objects,
        now,
        os.urandom,
        MemoryBudget(2**26),
        principals=principals,
    )
    session_keys = SessionKeys(key_store, root_key, now, os.urandom)
    await session_keys.refresh()
    yield Endpoint(
        S3Service(gateway, ROUTES),
        keys,
        StsService(principals, session_keys, now, os.urandom, audit),
        Credentials(principals, session_keys),
        now,
        os.urandom,
        "worker-1",
        access_log=AccessLog(lambda _: None, "worker-1"),
    )
    await audit.aclose()
    await state.aclose()
    await keys.aclose()


def received(pieces: Pieces) -> Request:
    """A request as the HTTP server makes it."""
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return Request(method, target, "", CIMultiDict(fields), body, Peer("127.0.0.1", False))


async def handled(served: Endpoint, requests: Sequence[Request], other: memoryview) -> float:
    """The median of microseconds for one of them."""
    medians = []
    for _ in range(ROUNDS):
        times = []
        for request in requests:
            other[: len(other) // 2] = other[len(other) // 2 :]
            start = time.perf_counter_ns()
            answer = await served.handle(request)
            times.append(time.perf_counter_ns() - start)
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {answer.body!r}")
        medians.append(statistics.median(times) / 1000)
    return statistics.median(medians)


async def main(profile: bool) -> None:
    signer = Signer("AKIABENCHMARKUSERXXX", "s" * 40, REGION)
    account = Account(80, signer, BUCKET)
    puts = [received(account.put(f"object-{number:04}", SIZE, "sha256")) for number in range(OBJECTS)]
    gets = [received(account.get(f"object-{number:04}")) for number in range(OBJECTS)]
    with tempfile.TemporaryDirectory() as folder:
        async with endpoint(Path(folder), signer) as served:
            for name, requests in (("PUT", puts), ("GET", gets)):
                for size in OTHER_MEMORY:
                    median = await handled(served, requests, memoryview(bytearray(size << 20)))
                    print(f"{name} of 4 KiB, {size} MiB of other memory used in between: {median:6.1f} us")
                if profile:
                    with cProfile.Profile() as profiler:
                        await handled(served, requests, memoryview(b""))
                    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--profile", action="store_true")
    uvloop.run(main(arguments.parse_args().profile))
