"""STS with boto3 and the aws CLI: roles and sessions on S3, KMS and STS itself, in headers and in presigned URLs."""

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError

from tests.e2e.stores import REGION, Endpoint, Endpoints, Serve, wait_for


def client_of(endpoint: Endpoint, service: str, credentials: Mapping[str, Any], **config: Any) -> Any:
    """A boto3 client with temporary credentials."""
    return boto3.client(
        service,
        endpoint_url=endpoint.url,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        region_name=REGION,
        verify=endpoint.ca_bundle,
        config=ClientConfig(**{"retries": {"total_max_attempts": 1}, **config}),
    )


def assume(endpoint: Endpoint, name: str = "admin", **members: Any) -> dict[str, Any]:
    role = f"arn:aws:iam::{endpoint.account}:role/{name}"
    answer = endpoint.client("sts").assume_role(RoleArn=role, RoleSessionName="e2e", **members)
    given: dict[str, Any] = answer["Credentials"]
    return given


def refusal(call: Any, **members: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        call(**members)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


@pytest.fixture
def seaweedfs(endpoints: Endpoints) -> Endpoint:
    return endpoints.get("seaweedfs")


@pytest.fixture
def bucket(seaweedfs: Endpoint, bucket_name: str) -> str:
    seaweedfs.client("s3").create_bucket(Bucket=bucket_name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return bucket_name


def test_a_roles_session_works_everywhere(seaweedfs: Endpoint, bucket: str) -> None:
    given = assume(seaweedfs)
    identity = client_of(seaweedfs, "sts", given).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::{seaweedfs.account}:assumed-role/admin/e2e"
    assert identity["UserId"].endswith(":e2e")

    kms = client_of(seaweedfs, "kms", given)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"secret"

    s3 = client_of(seaweedfs, "s3", given)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * 70_000, ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * 70_000


def test_presigned_urls_of_a_session(seaweedfs: Endpoint, bucket: str) -> None:
    s3 = client_of(seaweedfs, "s3", assume(seaweedfs), signature_version="s3v4")
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "presigned"})
    get = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "presigned"})
    assert "X-Amz-Security-Token=" in get
    urllib.request.urlopen(urllib.request.Request(put, b"by a session", method="PUT"), timeout=30).close()
    with urllib.request.urlopen(get, timeout=30) as answer:
        assert answer.read() == b"by a session"
    without = "&".join(part for part in get.split("&") if not part.startswith("X-Amz-Security-Token"))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(without, timeout=30)
    assert caught.value.code == 403
    assert b"<Code>InvalidAccessKeyId</Code>" in caught.value.read()
    caught.value.close()


def test_a_session_policy_holds_on_s3_and_kms(seaweedfs: Endpoint, bucket: str) -> None:
    admin = seaweedfs.client("s3")
    admin.put_object(Bucket=bucket, Key="k", Body=b"readable")
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}],
    }
    given = assume(seaweedfs, Policy=json.dumps(policy))
    s3 = client_of(seaweedfs, "s3", given)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"readable"
    code, status, message = refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"")
    assert (code, status) == ("AccessDenied", 403)
    assert "because no session policy allows the s3:PutObject action" in message
    code, status, message = refusal(client_of(seaweedfs, "kms", given).create_key)
    assert (code, status) == ("AccessDeniedException", 400)
    assert "because no session policy allows the kms:CreateKey action" in message


def test_a_user_without_rights_may_not_assume_the_role(seaweedfs: Endpoint) -> None:
    role = f"arn:aws:iam::{seaweedfs.account}:role/admin"
    user = f"arn:aws:iam::{seaweedfs.account}:user/app"
    sts = seaweedfs.client("sts", "app")
    assert refusal(sts.assume_role, RoleArn=role, RoleSessionName="e2e") == (
        "AccessDenied",
        403,
        f"User: {user} is not authorized to perform: sts:AssumeRole on resource: {role}",
    )


def test_a_users_session(seaweedfs: Endpoint) -> None:
    given = seaweedfs.client("sts", "app").get_session_token()["Credentials"]
    sts = client_of(seaweedfs, "sts", given)
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{seaweedfs.account}:user/app"
    assert refusal(sts.get_session_token)[0] == "AccessDenied"
    assert refusal(client_of(seaweedfs, "kms", given).create_key)[0] == "AccessDeniedException"


@pytest.mark.parametrize(
    ("service", "operation", "members", "expected"),
    [
        ("s3", "list_buckets", {}, ("InvalidToken", 400)),
        ("kms", "list_keys", {}, ("UnrecognizedClientException", 400)),
        ("sts", "get_caller_identity", {}, ("InvalidClientTokenId", 403)),
    ],
)
def test_a_token_that_is_not_the_access_keys(
    seaweedfs: Endpoint, service: str, operation: str, members: dict[str, Any], expected: tuple[str, int]
) -> None:
    one, other = assume(seaweedfs), assume(seaweedfs)
    mixed = {**one, "SessionToken": other["SessionToken"]}
    assert refusal(getattr(client_of(seaweedfs, service, mixed), operation), **members)[:2] == expected
    own = seaweedfs.environment()
    long_term = {
        "AccessKeyId": own["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": own["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": one["SessionToken"],
    }
    assert refusal(getattr(client_of(seaweedfs, service, long_term), operation), **members)[:2] == expected


def test_the_cli_assumes_a_role_by_its_profile(seaweedfs: Endpoint, tmp_path: Path) -> None:
    own = seaweedfs.environment()
    config = tmp_path / "config"
    config.write_text(
        f"""[profile base]
aws_access_key_id = {own["AWS_ACCESS_KEY_ID"]}
aws_secret_access_key = {own["AWS_SECRET_ACCESS_KEY"]}

[profile role]
role_arn = arn:aws:iam::{seaweedfs.account}:role/admin
source_profile = base
role_session_name = by-profile
"""
    )
    env = {"AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "role"}
    # The access keys in the environment would win over a profile that is not named on the command line.
    told = seaweedfs.aws("--profile", "role", "sts", "get-caller-identity", "--output", "json", env=env)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["Arn"].endswith(":assumed-role/admin/by-profile")


# With a configuration file: revocation, reload, several workers


def configuration(endpoint: Endpoint, *, not_before: str = "", role: bool = True) -> str:
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{endpoint.account}:root"},
                    "Action": "sts:AssumeRole",
                    "Condition": {"StringEquals": {"sts:ExternalId": "e2e-42"}},
                }
            ],
        }
    )
    if not role:
        return ""
    lines = [
        "[[roles]]",
        'name = "deploy"',
        f'account = "{endpoint.account}"',
        "administrator = true",
        f"trust_policy = '{trust}'",
        f"not_before = {not_before}" if not_before else "",
    ]
    return "\n".join(lines)


@pytest.fixture
def serve(endpoints: Endpoints, tmp_path: Path) -> Iterator[Serve]:
    """``sse-kms-proxy serve`` with two workers, in front of the store of another endpoint."""
    runner = Serve(tmp_path / "serve", endpoints.get("seaweedfs").store, workers=2)
    yield runner
    runner.close()


def reconfigure(serve: Serve, endpoint: Endpoint, extra: str) -> None:
    """Writes the configuration anew and waits until both workers have read it."""
    before = endpoint.program.output().count("reloaded")
    text = serve.config.read_text().partition("[[roles]]")[0]
    serve.config.write_text(f"{text}\n{extra}\n")
    endpoint.program.process.send_signal(signal.SIGHUP)
    wait_for(lambda: endpoint.program.output().count("reloaded") == before + 3, "three processes have reloaded", 10)


def test_reloading_and_revoking(serve: Serve) -> None:
    endpoint = serve.start()
    assert refusal(lambda: assume(endpoint, "deploy", ExternalId="e2e-42"))[0] == "AccessDenied"

    reconfigure(serve, endpoint, configuration(endpoint))
    assert refusal(lambda: assume(endpoint, "deploy"))[0] == "AccessDenied"
    given = assume(endpoint, "deploy", ExternalId="e2e-42")
    for _ in range(8):  # on both workers, each client with a connection of its own
        assert client_of(endpoint, "kms", given).list_keys()["Keys"] is not None

    # A file with faults changes nothing.
    whole = serve.config.read_text()
    serve.config.write_text(whole + "\n[nonsense]\n")
    endpoint.program.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "not reloaded" in endpoint.program.output(), "the fault is told", 10)
    assert client_of(endpoint, "kms", given).list_keys()["Keys"] is not None
    serve.config.write_text(whole)

    time.sleep(1.1)
    revoked = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    reconfigure(serve, endpoint, configuration(endpoint, not_before=revoked))
    for _ in range(8):
        assert refusal(client_of(endpoint, "kms", given).list_keys)[:2] == ("ExpiredTokenException", 400)
    assert refusal(client_of(endpoint, "s3", given).list_buckets)[:2] == ("ExpiredToken", 400)
    assert refusal(client_of(endpoint, "sts", given).get_caller_identity)[:2] == ("ExpiredToken", 403)
    again = assume(endpoint, "deploy", ExternalId="e2e-42")
    assert client_of(endpoint, "kms", again).list_keys()["Keys"] is not None

    reconfigure(serve, endpoint, configuration(endpoint, role=False))
    for _ in range(8):
        assert refusal(client_of(endpoint, "kms", again).list_keys)[:2] == ("UnrecognizedClientException", 400)
