"""One of several processes on a key store: run as ``python -m tests.kms.many wander DATABASE`` or
``hammer DATABASE KEY-ID NUMBER``."""

import asyncio
import contextlib
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from proxy.aws.credentials import CallOrigin
from proxy.kms.stores.sqlite import SqliteKeyStore
from tests.kms.harness import ACCOUNT, Kms, KmsFault, user

REGIONS = ("ap-northeast-1", "us-west-2", "ap-northeast-3", "eu-west-1")
KEY_STEPS = (
    *("ReplicateKey", "UpdatePrimaryRegion", "RotateKeyOnDemand", "EnableKeyRotation", "DisableKey", "EnableKey"),
    *("ScheduleKeyDeletion", "CancelKeyDeletion", "TagResource", "CreateGrant"),
)


async def start(path: str) -> Kms:
    kms = Kms(SqliteKeyStore(Path(path), busy_timeout=30))
    # No two processes may make the same key ids and nonces.
    kms.random._seed = os.urandom(16).hex()
    return await kms.start()


def admin(region: str) -> CallOrigin:
    return user("admin", "kms:*", region=region)


def step_on(key: str) -> tuple[str, dict[str, Any]]:
    """An operation that changes something, and its members."""
    alias = f"alias/{random.randrange(9)}"
    others: list[tuple[str, dict[str, Any]]] = [
        ("CreateAlias", {"AliasName": alias, "TargetKeyId": key}),
        ("DeleteAlias", {"AliasName": alias}),
        ("CreateKey", {"MultiRegion": True}),
    ]
    more: dict[str, dict[str, Any]] = {
        "ReplicateKey": {"ReplicaRegion": random.choice(REGIONS)},
        "UpdatePrimaryRegion": {"PrimaryRegion": random.choice(REGIONS)},
        "TagResource": {"Tags": [{"TagKey": str(random.randrange(9)), "TagValue": ""}]},
        "CreateGrant": {"GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:user/g", "Operations": ["Decrypt"]},
    }
    return random.choice([*others, *((name, {"KeyId": key, **more.get(name, {})}) for name in KEY_STEPS)])


async def wander(path: str) -> None:
    """Changes keys at random, and time, until it is killed; a dot for each step."""
    kms = await start(path)
    key = await kms.key(MultiRegion=True)
    while True:
        if random.random() < 0.05:
            key = await kms.key(MultiRegion=True)
        if random.random() < 0.2:
            kms.clock.advance(days=random.choice([1, 8, 40]))
        name, members = step_on(key)
        with contextlib.suppress(KmsFault):
            await kms.call(name, admin(random.choice(REGIONS)), **members)
        print(".", end="", flush=True)


async def hammer(path: str, key: str, me: str) -> None:
    """Adds to the same key what others add to at the same time, and tells what it made."""
    kms = await start(path)
    blobs = []
    for turn in range(3):
        await kms.call("RotateKeyOnDemand", KeyId=key)
        for region in REGIONS[:3]:
            await kms.call("TagResource", admin(region), KeyId=key, Tags=[{"TagKey": f"{me}.{turn}", "TagValue": ""}])
        grantee = f"arn:aws:iam::{ACCOUNT}:user/u{me}.{turn}"
        await kms.call("CreateGrant", KeyId=key, GranteePrincipal=grantee, Operations=["Decrypt"])
        sealed = await kms.call("Encrypt", admin(REGIONS[turn]), KeyId=key, Plaintext=b"%d" % turn)
        blobs.append(sealed["CiphertextBlob"].hex())
    won = True
    try:
        await kms.call("CreateAlias", AliasName="alias/one", TargetKeyId=key)
    except KmsFault as fault:
        if fault.code != "AlreadyExistsException":
            raise
        won = False
    print(json.dumps({"won": won, "blobs": blobs}))
    await kms.service.aclose()


if __name__ == "__main__":
    asyncio.run({"wander": wander, "hammer": hammer}[sys.argv[1]](*sys.argv[2:]))
