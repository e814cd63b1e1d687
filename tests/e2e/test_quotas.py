"""Request quotas of an endpoint with two workers: shared between them, and answered as AWS does."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.e2e.stores import REGION, Endpoint, Endpoints, Serve

MESSAGE = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."


@pytest.fixture
def serve(endpoints: Endpoints, tmp_path: Path) -> Iterator[Serve]:
    runner = Serve(tmp_path / "serve", endpoints.get("seaweedfs").store, workers=2)
    yield runner
    runner.close()


def test_two_workers_share_a_quota(serve: Serve) -> None:
    limit = 100
    serve.extra = f"[quotas]\nmanagement = false\n[quotas.requests_per_second]\ncryptographic_symmetric = {limit}\n"
    endpoint = serve.start()
    times: list[float] = []
    throttled: list[str] = []
    deadline = time.monotonic() + 4

    def call() -> None:
        # Clients of their own, so that the kernel spreads their connections over both workers.
        kms = endpoint.client("kms")
        while time.monotonic() < deadline:
            try:
                kms.generate_random(NumberOfBytes=1)
                times.append(time.monotonic())
            except ClientError as error:
                throttled.append(f"{error.response['Error']['Code']}: {error.response['Error']['Message']}")

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(throttled) == {f"ThrottlingException: {MESSAGE}"}
    assert len(throttled) > 50
    times.sort()
    begin = times[0]
    # A client sees an answer a little later than it was counted, so a second of its clock may hold a few more.
    for start in range(25):
        window = [at for at in times if begin + start / 10 <= at < begin + start / 10 + 1]
        assert len(window) <= limit * 1.15
    assert limit * 0.85 * 3 <= len([at for at in times if at < begin + 3]) <= limit * 1.05 * 3 + limit * 0.05


def test_s3_says_slow_down(serve: Serve, bucket_name: str) -> None:
    serve.extra = "[quotas]\nmanagement = false\n[quotas.requests_per_second]\ncryptographic_symmetric = 1\n"
    endpoint = serve.start()
    s3 = endpoint.client("s3")
    s3.create_bucket(Bucket=bucket_name, CreateBucketConfiguration={"LocationConstraint": REGION})

    def put(number: int) -> None:
        s3.put_object(Bucket=bucket_name, Key=str(number), Body=b"x", ServerSideEncryption="aws:kms")

    with pytest.raises(ClientError) as caught:
        list(map(put, range(20)))
    error = caught.value.response
    assert error["Error"]["Code"] == "SlowDown"
    assert error["Error"]["Message"] == "Please reduce your request rate for operations involving AWS KMS."
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 503
    # What S3 encrypts with its own key is nobody's quota.
    for number in range(10):
        s3.put_object(Bucket=bucket_name, Key=str(number), Body=b"x")


def made_before_throttling(endpoint: Endpoint) -> int:
    kms = endpoint.client("kms")
    for made in range(100):
        try:
            kms.create_key()
        except ClientError as error:
            if error.response["Error"]["Code"] != "ThrottlingException":
                raise
            return made
    return 100


def test_management_operations_have_aws_quotas_but_in_development(serve: Serve, endpoints: Endpoints) -> None:
    serve.extra = "[quotas]\nmanagement = true\n"
    assert 5 <= made_before_throttling(serve.start()) < 20
    assert made_before_throttling(endpoints.get("seaweedfs")) == 100
