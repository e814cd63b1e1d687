"""S3 Bucket Keys over two workers: a handful of calls to the key service for hundreds of objects, and no object
opens once the key is disabled."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.stores import REGION, Endpoints, Serve

OBJECTS = 240


@pytest.fixture
def serve(endpoints: Endpoints, tmp_path: Path) -> Iterator[Serve]:
    """``sse-kms-proxy serve`` with two workers and an audit log, in front of the store of another endpoint."""
    runner = Serve(tmp_path / "serve", endpoints.get("seaweedfs").store, workers=2)
    runner.extra = '[audit]\ndirectory = "audit"\n'
    yield runner
    runner.close()


def in_threads(clients: list[Any], count: int, work: Any) -> list[Any]:
    """What ``work`` gives for a client and each number; the clients have connections of their own, to either worker."""
    step = len(clients)

    def run(first: int) -> list[Any]:
        return [work(clients[first], number) for number in range(first, count, step)]

    with ThreadPoolExecutor(step) as pool:
        return [found for each in pool.map(run, range(step)) for found in each]


def uses_of(serve: Serve, key: str) -> list[dict[str, Any]]:
    """The recorded uses of a KMS key."""
    lines = [line for path in (serve.folder / "audit").glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    events = [event for event in map(json.loads, lines) if event.get("eventType") == "AwsApiCall"]
    return [
        event
        for event in events
        if event["eventName"] in ("GenerateDataKey", "Decrypt")
        and any(resource["ARN"] == key for resource in event["resources"])
    ]


def test_few_calls_and_none_once_the_key_is_disabled(serve: Serve, bucket_name: str) -> None:
    endpoint = serve.start()
    clients, kms = [endpoint.client("s3") for _ in range(6)], endpoint.client("kms")
    client = clients[0]
    key = kms.create_key()["KeyMetadata"]["Arn"]
    client.create_bucket(Bucket=bucket_name, CreateBucketConfiguration={"LocationConstraint": REGION})
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
    client.put_bucket_encryption(Bucket=bucket_name, ServerSideEncryptionConfiguration={"Rules": [rule]})

    def put(own: Any, number: int) -> bool:
        answer = own.put_object(Bucket=bucket_name, Key=f"k{number}", Body=b"%d" % number)
        return bool(answer["BucketKeyEnabled"])

    def get(own: Any, number: int) -> bool:
        answer = own.get_object(Bucket=bucket_name, Key=f"k{number}")
        return bool(answer["BucketKeyEnabled"]) and answer["Body"].read() == b"%d" % number

    assert in_threads(clients, OBJECTS, put) == [True] * OBJECTS
    assert in_threads(clients, OBJECTS, get) == [True] * OBJECTS
    kms.disable_key(KeyId=key)

    def refused(own: Any, number: int) -> str:
        work = put if number % 2 else get
        with pytest.raises(ClientError) as error:
            work(own, number)
        return str(error.value.response["Error"]["Code"])

    assert set(in_threads(clients, 48, refused)) == {"KMS.DisabledException"}
    kms.enable_key(KeyId=key)
    assert in_threads(clients, 8, get) == [True] * 8
    assert endpoint.program.stop() == 0

    used = [event for event in uses_of(serve, key) if "errorCode" not in event]
    counted = Counter(event["eventName"] for event in used)
    # One for each worker, and one more where a worker has written down the last use of keys meanwhile.
    assert 1 <= counted["GenerateDataKey"] <= 6, counted
    assert 1 <= counted["Decrypt"] <= 12, counted
    assert {event["requestParameters"]["encryptionContext"]["aws:s3:arn"] for event in used} == {
        f"arn:aws:s3:::{bucket_name}"
    }
