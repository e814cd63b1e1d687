"""What Decrypt of an object's data key costs in process, beside the primitive's own cost.

Run: ``python -m tests.bench.bench_decrypt`` (``--profile`` shows where the time goes). Prints medians in microseconds;
goal: the whole takes less than 100 microseconds more than the primitive (XAES-256-GCM over 32 bytes). The store is
SQLite on disk, the caller is a user with IAM policies, the context is an object's.
"""

import argparse
import cProfile
import os
import pstats
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop

from proxy.audit.log import AuditLog
from proxy.aws.credentials import Caller, CallOrigin
from proxy.kms import blob
from proxy.kms.model import KeyName
from proxy.kms.operations import OPERATIONS
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.quotas import SYMMETRIC, MemoryQuotaStore, RequestQuotas
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.service import KeyService
from proxy.kms.stores.sqlite import SqliteKeyStore

ACCOUNT, REGION = "111122223333", "ap-northeast-1"
REPLICAS = ("us-west-2", "eu-west-1", "eu-west-3")
CONTEXT = {"aws:s3:arn": "arn:aws:s3:::a-bucket-with-a-name/and/a/key/of/usual/length.bin"}
ROUNDS: Final = 5000

_POLICIES = (
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::a-bucket*/*"},
            {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey*"], "Resource": "*"},
        ],
    },
)
USER = CallOrigin(
    Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/app", "AIDAEXAMPLE", "AKIAEXAMPLE", _POLICIES),
    REGION,
    via_service=f"s3.{REGION}.amazonaws.com",
)
ADMIN = replace(
    USER,
    caller=replace(USER.caller, policies=({"Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]},)),
    via_service=None,
)


async def median(call: Callable[[], Awaitable[object]]) -> float:
    """Microseconds."""
    for _ in range(200):
        await call()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        await call()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000


async def new_key(service: KeyService, *, replicas: tuple[str, ...] = (), rotates: bool = False) -> str:
    async def run(operation: str, **members: object) -> dict[str, object]:
        found = next(each for name, each in OPERATIONS._operations.items() if name == operation)
        return dict(await found.function(service, ADMIN, members) or {})

    metadata = (await run("CreateKey", MultiRegion=bool(replicas)))["KeyMetadata"]
    key = str(metadata["KeyId"])  # type: ignore[index]
    for region in replicas:
        await run("ReplicateKey", KeyId=key, ReplicaRegion=region)
    if rotates:
        await run("EnableKeyRotation", KeyId=key)
    return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}"


async def measure(service: KeyService, name: str, key: str, *, profile: bool) -> None:
    """Prints a line for a key."""
    provider = EmbeddedKeyProvider(service)
    made = await provider.generate_data_key(USER, key, CONTEXT)
    parsed = blob.parse(made.wrapped)
    cipher = await service.ring.cipher(KeyName(ACCOUNT, REGION, parsed.key.key_id), parsed.key.ordinal)

    async def primitive() -> bytes:
        return cipher.decrypt(parsed.nonce, parsed.sealed, parsed.header + blob.context_bytes(CONTEXT))

    async def whole() -> bytes:
        return await provider.decrypt(USER, made.key_arn, made.wrapped, CONTEXT)

    alone, both = await median(primitive), await median(whole)
    print(f"{name:42} primitive {alone:5.1f} us   Decrypt {both:6.1f} us   beside it {both - alone:6.1f} us")
    if profile:
        with cProfile.Profile() as profiler:
            for _ in range(2000):
                await whole()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def now() -> datetime:
    return datetime.now(UTC)


async def main(profile: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteKeyStore(Path(folder) / "keys.db")
        service = KeyService(store, LocalRootKey(bytes(32), os.urandom), now, os.urandom)
        await service.start()
        keys = {
            "customer managed key": await new_key(service),
            "the same with automatic rotation": await new_key(service, rotates=True),
            "multi-Region key with 3 replicas": await new_key(service, replicas=REPLICAS),
            "aws/s3": "alias/aws/s3",
        }
        for name, key in keys.items():
            await measure(service, name, key, profile=profile)
        service.request_quotas = RequestQuotas(MemoryQuotaStore(), now, rates={SYMMETRIC: 10**9})
        await measure(service, "customer managed key, quotas", keys["customer managed key"], profile=profile)
        audit = service.audit = AuditLog(Path(folder) / "audit", "worker-1", bytes(32), now, os.urandom)
        await measure(service, "customer managed key, quotas, audit log", keys["customer managed key"], profile=profile)
        await audit.aclose()
        await service.aclose()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--profile", action="store_true")
    uvloop.run(main(arguments.parse_args().profile))
