"""SIGKILLs of the whole proxy under writers, and what must be there afterwards."""

import hashlib
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.e2e.samples import MIB
from tests.e2e.stores import REGION, Endpoint, Serve, wait_for

WRITERS = 8
PART = 5 * MIB

Outcome = str | None
"""The digest of a body, or None for no object."""


@dataclass
class Written:
    """What one key may hold: what was acknowledged last, and what was tried since."""

    acknowledged: Outcome = None
    possible: set[Outcome] = field(default_factory=lambda: {None})

    def attempt(self, digest: Outcome) -> None:
        self.possible.add(digest)

    def confirm(self, digest: Outcome) -> None:
        self.acknowledged = digest
        self.possible = {digest}


@dataclass
class Ledger:
    """What all writers have done."""

    objects: dict[str, Written] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    failures: int = 0
    successes: int = 0


class Writer(threading.Thread):
    """Puts, overwrites, copies and deletes objects of its own, and makes keys, until it is told to stop."""

    def __init__(self, number: int, endpoint: Endpoint, bucket: str, ledger: Ledger, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._random = random.Random(number)
        self._number = number
        settings: dict[str, Any] = {"connect_timeout": 2, "read_timeout": 20}
        self._s3, self._kms = endpoint.client("s3", **settings), endpoint.client("kms", **settings)
        self._bucket, self._ledger, self._stop_asked = bucket, ledger, stop

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                self._act()
                self._ledger.successes += 1
            except (BotoCoreError, ClientError):
                # Whether it was done is not known; the ledger says so.
                self._ledger.failures += 1
                time.sleep(0.02)

    def _act(self) -> None:
        acts = (self._put, self._copy, self._multipart, self._delete, self._make_key)
        self._random.choices(acts, (12, 6, 2, 1, 2))[0]()

    def _pick(self) -> tuple[str, Written]:
        key = f"{self._number}/{self._random.randrange(12)}"
        return key, self._ledger.objects.setdefault(key, Written())

    def _put(self) -> None:
        key, written = self._pick()
        data = self._random.randbytes(self._random.choice((10, 5_000, 70_000, MIB + 1, 3 * MIB)))
        digest = hashlib.sha256(data).hexdigest()
        sse = self._random.choice(({}, {"ServerSideEncryption": "aws:kms"}))
        written.attempt(digest)
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, **sse)
        written.confirm(digest)

    def _copy(self) -> None:
        """What is copied is known: nobody else writes to these keys."""
        source, known = self._pick()
        key, written = self._pick()
        if known.acknowledged is None or known.possible != {known.acknowledged} or source == key:
            return
        sse = self._random.choice(({}, {"ServerSideEncryption": "aws:kms"}))
        digest = known.acknowledged
        written.attempt(digest)
        self._s3.copy_object(Bucket=self._bucket, Key=key, CopySource=f"{self._bucket}/{source}", **sse)
        written.confirm(digest)

    def _multipart(self) -> None:
        key, written = self._pick()
        parts = [self._random.randbytes(PART), self._random.randbytes(1000)]
        digest = hashlib.sha256(b"".join(parts)).hexdigest()
        where = {"Bucket": self._bucket, "Key": key}
        upload = self._s3.create_multipart_upload(**where, ServerSideEncryption="aws:kms")["UploadId"]
        rows = []
        for number, part in enumerate(parts, 1):
            sent = self._s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=part)
            rows.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32": sent["ChecksumCRC32"]})
        written.attempt(digest)
        self._s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": rows})
        written.confirm(digest)

    def _delete(self) -> None:
        key, written = self._pick()
        written.attempt(None)
        self._s3.delete_object(Bucket=self._bucket, Key=key)
        written.confirm(None)

    def _make_key(self) -> None:
        self._ledger.keys.append(self._kms.create_key()["KeyMetadata"]["KeyId"])


def hammer(proxy: Serve, kills: int, seed: int = 0) -> tuple[Endpoint, str, Ledger]:
    """Kills the proxy ``kills`` times at random moments while writers are at work, and starts it again each time."""
    endpoint = proxy.start()
    bucket = f"kills-{proxy.port}"
    place = {"LocationConstraint": REGION}
    endpoint.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    ledger, stop, chance = Ledger(), threading.Event(), random.Random(seed)
    writers = [Writer(number, endpoint, bucket, ledger, stop) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(kills):
            time.sleep(chance.uniform(0.05, 0.8))
            proxy.programs[-1].kill_group()
            program = proxy.launch()
            wait_for(lambda program=program: "ready: " in program.output(), "the proxy is back")  # type: ignore[misc]
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    assert not any(writer.is_alive() for writer in writers)
    return endpoint, bucket, ledger


def check(endpoint: Endpoint, bucket: str, ledger: Ledger) -> None:
    """Every acknowledged object and key is there, byte for byte; every other object is whole or absent; the listing,
    HEAD and GET say the same of each."""
    s3, kms = endpoint.client("s3"), endpoint.client("kms")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    listed = {item["Key"]: item for page in pages for item in page.get("Contents", [])}
    assert set(listed) <= set(ledger.objects)
    for key, written in ledger.objects.items():
        if key not in listed:
            assert None in written.possible, f"{key} was acknowledged and is gone"
            continue
        answer = s3.get_object(Bucket=bucket, Key=key)
        body = answer["Body"].read()
        assert hashlib.sha256(body).hexdigest() in written.possible, f"{key} is not what was put"
        head = s3.head_object(Bucket=bucket, Key=key)
        assert head["ContentLength"] == listed[key]["Size"] == len(body)
        assert head["ETag"] == listed[key]["ETag"] == answer["ETag"], key
    for key_id in ledger.keys:
        blob = kms.encrypt(KeyId=key_id, Plaintext=b"still here")["CiphertextBlob"]
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"still here"
