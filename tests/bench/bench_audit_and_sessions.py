"""What the audit log, quotas and temporary credentials cost per request: microseconds of CPU, the best of several runs.

Run it with ``python -m tests.bench.bench_audit_and_sessions`` on an idle machine.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from proxy.audit.log import AuditLog
from proxy.aws.credentials import Caller, CallOrigin
from proxy.kms import audit_events
from proxy.kms.quota_stores.sqlite import SqliteQuotaStore
from proxy.kms.quotas import RequestQuotas
from proxy.sts import tokens
from proxy.sts.session_keys import SessionKey
from proxy.sts.tokens import Grant
from proxy.xaes import XAES256GCM

ACCOUNT = "111122223333"
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CALLER = Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/alice", "AIDAEXAMPLE", "AKIAEXAMPLE")
AGENT = "Boto3/1.43.7 md/Botocore#1.43.7 ua/2.1 os/linux#6.8 md/arch#x86_64 lang/python#3.11.7 cfg/retry-mode#legacy"
ORIGIN = CallOrigin(
    CALLER, "eu-west-1", "s3.eu-west-1.amazonaws.com", "192.0.2.9", AGENT, request_id="0123456789ABCDEF"
)
REQUEST = {"KeyId": KEY, "CiphertextBlob": bytes(99), "EncryptionContext": {"aws:s3:arn": "arn:aws:s3:::bucket/a/key"}}
ROUNDS, CALLS = 200, 200


def now() -> datetime:
    return datetime.now(UTC)


def done(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("it waits")


def best(what: str, call: Callable[[], object]) -> None:
    least = float("inf")
    for _ in range(ROUNDS):
        start = time.thread_time()
        for _ in range(CALLS):
            call()
        least = min(least, (time.thread_time() - start) / CALLS)
    print(f"{what:<60} {least * 1e6:7.1f} us")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = AuditLog(Path(folder), "worker-1", os.urandom(32), now, os.urandom)

        def record() -> None:
            shown, key = audit_events.shown(REQUEST), ((KEY, "AWS::KMS::Key"),)
            args = ("Decrypt", shown, None, key, None, ORIGIN, now(), os.urandom(16))
            log.record(partial(audit_events.event_of, *args))

        best("audit: one event handed over", record)
        await log.aclose()

        store = SqliteQuotaStore(Path(folder) / "quotas.db")
        quotas = RequestQuotas(store, now, workers=2, rates={"cryptographic_symmetric": 10_000_000})
        best("quotas: one request, far from the limit", lambda: quotas.charge(ACCOUNT, "eu-west-1", "Decrypt", REQUEST))
        slot = int(time.time() * 100)
        best("quotas: one lease of the SQLite store", lambda: store.lease("scope", 10**9, 250, slot))
        store.close()

    key = SessionKey(1, XAES256GCM(os.urandom(32)), os.urandom(32))
    grant = Grant(f"arn:aws:iam::{ACCOUNT}:role/deploy", now(), now() + timedelta(hours=1), "session")
    issued = tokens.issue(grant, key, os.urandom(34))
    best("session token: issued", lambda: tokens.issue(grant, key, os.urandom(34)))
    best(
        "session token: opened (once per token and process)",
        lambda: tokens.open_token(issued.session_token, issued.access_key_id, {1: key}),
    )
    print(f"session token without a policy: {len(issued.session_token)} characters")


if __name__ == "__main__":
    asyncio.run(main())
