"""What it costs to ask whether a caller may: the two questions of a GET, of S3 and of the key service.

Run: ``python -m tests.bench.bench_authorization``. Prints microseconds per question, the best of several rounds; goal:
less than 10 each where no policy has conditions.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from proxy.aws.message import Peer
from proxy.s3.access import authorization
from proxy.s3.gateway import Target
from proxy.s3.state.ports import BucketRecord
from tests.kms.harness import ACCOUNT, ADMIN, THROUGH_S3, Kms, user
from tests.s3.fakes import caller, make_call

CALLS: Final = 20_000
ROUNDS: Final = 5
NOW: Final = datetime(2026, 11, 23, 6, tzinfo=UTC)
BUCKET: Final = BucketRecord("bucket", ACCOUNT, "eu-west-1", NOW)
VIA: Final = THROUGH_S3.via_service


def document(**elements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", **elements}]}


POLICIES: Final[dict[str, dict[str, Any]]] = {
    "everything": document(),
    "actions and prefixes": document(
        Action=["s3:GetObject", "s3:PutObject"], Resource=["arn:aws:s3:::bucket/a/*", "arn:aws:s3:::bucket/home/*"]
    ),
    "two conditions and a variable": document(
        Resource="arn:aws:s3:::bucket/home/${aws:username}/*",
        Condition={"Bool": {"aws:SecureTransport": "false"}, "IpAddress": {"aws:SourceIp": "0.0.0.0/0"}},
    ),
}


async def best(call: Callable[[], Awaitable[object]]) -> float:
    """Microseconds of one call."""
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS):
            await call()
        found.append((time.perf_counter() - started) / CALLS)
    return min(found) * 1e6


def report(name: str, microseconds: float) -> None:
    print(f"{name:55} {microseconds:6.1f} us")


async def s3() -> None:
    for name, policy in POLICIES.items():
        call = replace(
            make_call("GET", Target("bucket", "home/tester/x"), record=BUCKET), caller=caller(policies=(policy,))
        )
        call = replace(call, request=replace(call.request, peer=Peer("203.0.113.7", False)))

        async def ask() -> None:
            authorization.authorize(call, "s3:GetObject", call.target, lambda: NOW)  # noqa: B023 - awaited in the loop

        report(f"s3:GetObject, {name}", await best(ask))


async def kms() -> None:
    service = await Kms().start()
    context = {"aws:s3:arn": "arn:aws:s3:::bucket/key"}

    async def ask(name: str, origin: Any, key_id: str) -> None:
        key = await service.service.find_key("Decrypt", origin, key_id)
        call = lambda: service.service.authorize(origin, key, "Decrypt", context=context)  # noqa: E731
        report(f"kms:Decrypt, {name}", await best(call))

    plain = await service.key()
    await ask("the account's own policies", ADMIN, plain)
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": ADMIN.caller.arn}, "Action": "kms:*", "Resource": "*"},
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "kms:Decrypt",
            "Resource": "*",
            "Condition": {"StringEquals": {"kms:ViaService": VIA, "kms:CallerAccount": ACCOUNT}},
        },
    ]
    conditional = await service.key(Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    await ask("a key policy with two conditions", replace(user("bob"), via_service=VIA), conditional)
    for number in range(1000):
        grantee = f"arn:aws:iam::{ACCOUNT}:user/u{number}"
        await service.call("CreateGrant", KeyId=plain, GranteePrincipal=grantee, Operations=["Decrypt"])
    await ask("one of 1000 grants", user("u7"), plain)


async def main() -> None:
    await s3()
    await kms()


if __name__ == "__main__":
    asyncio.run(main())
