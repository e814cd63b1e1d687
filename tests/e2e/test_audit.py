"""The audit log of a real endpoint: complete, verified by the command, and honest about SIGKILL."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.e2e.stores import COMMAND, REGION, Endpoint, Endpoints, Serve, wait_for


@pytest.fixture
def serve(endpoints: Endpoints, tmp_path: Path) -> Iterator[Serve]:
    """``sse-kms-proxy serve`` with two workers and an audit log, in front of the store of another endpoint."""
    runner = Serve(tmp_path / "serve", endpoints.get("seaweedfs").store, workers=2)
    runner.extra = '[audit]\ndirectory = "audit"\n[quotas]\nmanagement = false\n'
    yield runner
    runner.close()


def verify(serve: Serve) -> tuple[int, list[str]]:
    """Exit code and lines of ``sse-kms-proxy audit verify``."""
    arguments = [COMMAND, "audit", "verify", "--config", str(serve.config)]
    told = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert told.stderr == ""
    return told.returncode, told.stdout.splitlines()


def events(folder: Path) -> list[dict[str, Any]]:
    """All events of an audit log, but for its own."""
    found = []
    for path in sorted((folder / "audit").glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                event = json.loads(line)
                found += [event] if event["eventType"] == "AwsApiCall" else []
    return found


def make_calls(endpoint: Endpoint, count: int) -> list[str]:
    """Calls GenerateRandom from several connections; the request ids of those that were answered."""

    def call(_: int) -> list[str]:
        kms = endpoint.client("kms")
        ids = []
        try:
            for _ in range(count // 8):
                ids.append(str(kms.generate_random(NumberOfBytes=8)["ResponseMetadata"]["RequestId"]))
        except (ClientError, BotoCoreError):
            # A worker was killed.
            return ids
        return ids

    with ThreadPoolExecutor(8) as pool:
        return [id for ids in pool.map(call, range(8)) for id in ids]


def test_every_call_and_every_use_of_a_key_is_recorded(serve: Serve, bucket_name: str) -> None:
    endpoint = serve.start()
    kms, s3 = endpoint.client("kms"), endpoint.client("s3")
    key = kms.create_key(Description="audited")["KeyMetadata"]["Arn"]
    s3.create_bucket(Bucket=bucket_name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=bucket_name, Key="k", Body=b"body", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    s3.get_object(Bucket=bucket_name, Key="k")["Body"].read()
    kms.disable_key(KeyId=key)
    with pytest.raises(ClientError, match="is disabled"):
        s3.get_object(Bucket=bucket_name, Key="k")
    identity = endpoint.client("sts").assume_role
    with pytest.raises(ClientError, match="AccessDenied"):
        identity(RoleArn=f"arn:aws:iam::{endpoint.account}:role/none", RoleSessionName="ab")
    answered = make_calls(endpoint, 400)
    assert len(answered) == 400
    assert endpoint.program.stop() == 0

    code, lines = verify(serve)
    assert (code, lines[-1]) == (0, "the audit log is whole")
    found = events(serve.folder)
    assert {event["requestID"] for event in found if event["eventName"] == "GenerateRandom"} == set(answered)
    about = [event for event in found if any(each["ARN"] == key for each in event["resources"])]
    assert sorted((event["eventName"], event.get("errorCode", "")) for event in about) == [
        ("CreateKey", ""),
        ("Decrypt", ""),
        ("Decrypt", "DisabledException"),
        ("DisableKey", ""),
        ("GenerateDataKey", ""),
    ]
    by_s3 = next(event for event in about if event["eventName"] == "GenerateDataKey")
    assert by_s3["userIdentity"]["invokedBy"] == "s3.amazonaws.com"
    assert by_s3["sourceIPAddress"] == "127.0.0.1"
    assert "Botocore" in by_s3["userAgent"]
    assert by_s3["requestParameters"]["encryptionContext"] == {"aws:s3:arn": f"arn:aws:s3:::{bucket_name}/k"}
    (denied,) = [event for event in found if event["eventSource"] == "sts.amazonaws.com"]
    assert (denied["eventName"], denied["errorCode"]) == ("AssumeRole", "AccessDenied")
    assert {path.name.partition(".")[0] for path in (serve.folder / "audit").glob("*.jsonl")} == {
        "worker-1",
        "worker-2",
    }


def test_it_can_be_verified_while_it_is_written(serve: Serve) -> None:
    endpoint = serve.start()
    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(make_calls, endpoint, 800)
        while not calls.done():
            code, lines = verify(serve)
            assert (code, lines[-1]) == (0, "the audit log is whole")


def test_sigkill_of_a_worker_shows_as_a_gap(serve: Serve) -> None:
    endpoint = serve.start()
    before = endpoint.workers
    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(make_calls, endpoint, 1600)
        time.sleep(1.0)
        os.kill(before[0], signal.SIGKILL)
        calls.result()
    wait_for(lambda: len(set(endpoint.workers) - set(before)) == 1, "a new worker", 10)
    make_calls(endpoint, 80)
    assert endpoint.program.stop() == 0
    code, lines = verify(serve)
    assert code == 3, lines
    gaps = [line for line in lines if line.startswith("gap: worker-")]
    assert len(gaps) == 1
    assert "ended by force after event" in gaps[0]
    assert lines[-1] == "the audit log has gaps, and is whole besides"


def test_sigkill_of_everything_loses_at_most_what_was_not_yet_written(serve: Serve) -> None:
    serve.extra = serve.extra.replace('directory = "audit"\n', 'directory = "audit"\nwrite_through = true\n')
    endpoint = serve.start()
    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(make_calls, endpoint, 1600)
        time.sleep(1.0)
        endpoint.program.kill_group()
        answered = calls.result()
    assert len(answered) > 20
    # Written through: every call that was answered is there.
    assert set(answered) <= {event["requestID"] for event in events(serve.folder)}
    code, lines = verify(serve)
    assert code == 3, lines
    assert [line.partition(":")[0] for line in lines[:2]] == ["gap", "gap"]
    assert "has not been started again" in lines[0]

    again = serve.launch()
    wait_for(lambda: "ready: " in again.output(), "it starts again")
    again.stop()
    code, lines = verify(serve)
    assert code == 3
    assert "the next run began at" in lines[0]


def test_tampering_is_told_and_has_an_exit_code(serve: Serve) -> None:
    endpoint = serve.start()
    make_calls(endpoint, 80)
    assert endpoint.program.stop() == 0
    path = max((serve.folder / "audit").glob("*.jsonl"), key=lambda each: each.stat().st_size)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    code, told = verify(serve)
    assert code == 1
    assert f"{path.name} line 4: event 4 is missing before this line" in told[0]
    assert told[0].startswith("removed: worker-")
    assert told[-1] == "the audit log is NOT whole"


def test_the_development_endpoint_has_an_audit_log(endpoints: Endpoints) -> None:
    endpoint = endpoints.get("seaweedfs")
    endpoint.client("kms").list_keys()
    wait_for(lambda: any(event["eventName"] == "ListKeys" for event in events(endpoint.folder)), "the event", 5)
    arguments = [COMMAND, "audit", "verify", "--data-dir", str(endpoint.folder)]
    told = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert (told.returncode, told.stderr) == (0, ""), told.stdout
