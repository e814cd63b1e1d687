"""AWS KMS as a provider, where it is more than the port says: faults, credentials, how often it is asked."""

import asyncio
import base64
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from multidict import CIMultiDict

from proxy.aws.message import Request, Response
from proxy.envelope import v1
from proxy.envelope.digests import Digests
from proxy.envelope.header import Mode, encode
from proxy.envelope.v1 import Wrapping
from proxy.kms.audit import AuditUnavailable, Event, Lazy
from proxy.kms.errors import KmsError
from proxy.kms.provider import AWS_MANAGED_S3_KEY, S3_OWNED_KEY
from proxy.kms.providers.aws import AwsKeyProvider
from proxy.s3.upstream.profiles import PROFILES
from proxy.stream import read_all
from tests.fakes import FakeRandom
from tests.kms.aws_endpoint import aws, listening, provider
from tests.kms.harness import ACCOUNT, ADMIN, REGION, Kms, user

CONTEXT = {"aws:s3:arn": "arn:aws:s3:::bucket/key"}
KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-00000000beef"


@contextlib.asynccontextmanager
async def answering(*answers: tuple[int, dict[str, str]]) -> AsyncIterator[tuple[AwsKeyProvider, list[str]]]:
    """A provider whose AWS gives these answers in turn, the last one for ever; and what it was asked."""
    heard: list[str] = []

    async def handle(request: Request) -> Response:
        await read_all(request.body, 1 << 20)
        status, document = answers[min(len(heard), len(answers) - 1)]
        heard.append(request.headers["X-Amz-Target"].rpartition(".")[2])
        headers = CIMultiDict({"Content-Type": "application/x-amz-json-1.1"})
        return Response(status, headers, json.dumps(document).encode())

    async with listening(handle) as url, provider(url, KEY_ARN) as keys:
        yield keys, heard


async def refused(keys: AwsKeyProvider, key_id: str = S3_OWNED_KEY) -> KmsError:
    with pytest.raises(KmsError) as error:
        await keys.generate_data_key(ADMIN, key_id, CONTEXT)
    return error.value


@pytest.mark.parametrize(
    ("status", "code", "expected", "expected_status"),
    [
        (400, "AccessDeniedException", "AccessDeniedException", 400),
        (400, "DisabledException", "DisabledException", 400),
        (400, "ThrottlingException", "ThrottlingException", 400),
        (400, "RequestLimitExceeded", "ThrottlingException", 400),
        (500, "KMSInternalException", "KMSInternalException", 500),
        (500, "KeyUnavailableException", "KeyUnavailableException", 500),
        (503, "DependencyTimeoutException", "DependencyTimeoutException", 503),
        (503, "ServiceUnavailable", "KMSInternalException", 500),
        # What is wrong with the proxy's own credentials is nothing that a client could mend.
        (400, "UnrecognizedClientException", "KeyUnavailableException", 500),
        (400, "ExpiredTokenException", "KeyUnavailableException", 500),
        (403, "InvalidSignatureException", "KeyUnavailableException", 500),
        (400, "IncompleteSignature", "KeyUnavailableException", 500),
    ],
)
async def test_answers_of_aws(status: int, code: str, expected: str, expected_status: int) -> None:
    async with answering((status, {"__type": code, "message": "Because."})) as (keys, heard):
        error = await refused(keys)
    assert (error.code, error.status) == (expected, expected_status)
    if expected == code:
        assert error.message == "Because."
    retried = status >= 500 or code in ("ThrottlingException", "RequestLimitExceeded")
    assert len(heard) == (3 if retried else 1)


async def test_a_fault_that_passes_is_not_seen() -> None:
    good = {"Plaintext": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "CiphertextBlob": "YQ==", "KeyId": KEY_ARN}
    async with answering((500, {"__type": "KMSInternalException"}), (200, good)) as (keys, heard):
        made = await keys.generate_data_key(ADMIN, S3_OWNED_KEY, CONTEXT)
    assert (made.plaintext, made.wrapped, made.key_arn) == (bytes(range(32)), b"a", KEY_ARN)
    assert heard == ["GenerateDataKey"] * 2


async def test_a_data_key_of_another_size_is_not_used() -> None:
    async with answering((200, {"Plaintext": "YQ==", "CiphertextBlob": "YQ==", "KeyId": KEY_ARN})) as (keys, _):
        assert (await refused(keys)).code == "KMSInternalException"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]"])
async def test_an_answer_that_is_none(body: bytes) -> None:
    async def handle(request: Request) -> Response:
        await read_all(request.body, 1 << 20)
        return Response(200, CIMultiDict(), body)

    async with listening(handle) as url, provider(url, KEY_ARN) as keys:
        assert (await refused(keys)).code == "KMSInternalException"


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with provider(f"http://127.0.0.1:{taken.getsockname()[1]}", KEY_ARN, attempts=2) as keys:
            error = await refused(keys)
    assert (error.code, error.status) == ("DependencyTimeoutException", 503)


async def test_an_answer_that_does_not_come_is_given_up_in_time() -> None:
    never = asyncio.Event()

    async def handle(_: Request) -> Response:
        await never.wait()
        raise AssertionError

    async with listening(handle) as url, provider(url, KEY_ARN, timeout=0.5) as keys:
        began = time.monotonic()
        error = await refused(keys)
    assert (error.code, error.status) == ("DependencyTimeoutException", 503)
    assert 0.4 < time.monotonic() - began < 5


async def test_a_name_that_leads_nowhere() -> None:
    async with provider("https://kms.invalid", KEY_ARN, attempts=1) as keys:
        assert (await refused(keys)).code == "DependencyTimeoutException"


async def test_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    async with provider("http://127.0.0.1:9", KEY_ARN, access_key_id=None, secret_access_key=None) as keys:
        assert (await refused(keys)).code == "KeyUnavailableException"


async def test_the_standard_chain_of_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPROXYAATAWSKMS00")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "proxy-at-aws-kms")
    kms = await Kms().start()
    owned = await kms.key()
    async with (
        listening(aws(kms, [])) as url,
        provider(url, owned, access_key_id=None, secret_access_key=None) as keys,
    ):
        made = await keys.generate_data_key(ADMIN, S3_OWNED_KEY, CONTEXT)
        assert await keys.decrypt(ADMIN, S3_OWNED_KEY, made.wrapped, CONTEXT) == made.plaintext


async def test_wrong_credentials_show_to_the_operator_alone(caplog: pytest.LogCaptureFixture) -> None:
    kms = await Kms().start()
    async with listening(aws(kms, [])) as url, provider(url, KEY_ARN, secret_access_key="wrong") as keys:
        error = await refused(keys)
    assert (error.code, error.status) == ("KeyUnavailableException", 500)
    assert error.message is not None
    assert "signature" not in error.message
    assert "signature" in caplog.text
    assert "wrong" not in caplog.text.replace("'wrong'", "")
    assert ADMIN.request_id in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        {"KeyId": KEY_ARN, "CiphertextBlob": "YQ==", "Plaintext": base64.b64encode(b"secret" * 5).decode()},
        {"KeyId": KEY_ARN, "CiphertextBlob": "YQ==", "Plaintext": "secret!" * 6},
        {"KeyId": KEY_ARN, "Plaintext": base64.b64encode(b"secret.." * 4).decode()},
    ],
)
async def test_an_answer_that_is_none_is_logged_with_the_request_and_without_what_is_secret(
    answer: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with answering((200, answer)) as (keys, _):
        assert (await refused(keys)).code == "KMSInternalException"
    assert f"{ADMIN.request_id} a call to AWS KMS failed" in caplog.text
    assert not any(shown in caplog.text for shown in (answer["Plaintext"], "secret!", "secret..", "secretsecret"))


async def test_an_endpoint_in_the_environment_is_for_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    async with provider("", KEY_ARN) as keys:
        keys._settings = replace(keys._settings, endpoint_url=None)
        client = await keys._make_client("eu-west-1")
        assert client.meta.endpoint_url == "https://kms.eu-west-1.amazonaws.com"


async def test_a_key_is_described_once_and_a_minute_later_again() -> None:
    kms, heard = await Kms().start(), list[str]()
    key_id, owned = await kms.key(), await kms.key()
    async with listening(aws(kms, heard)) as url, provider(url, owned) as keys:
        keys._clock = kms.clock
        for _ in range(3):
            await keys.generate_data_key(ADMIN, key_id, CONTEXT)
        assert heard == ["DescribeKey"] + ["GenerateDataKey"] * 3
        kms.clock.advance(seconds=61)
        made = await keys.generate_data_key(ADMIN, key_id, CONTEXT)
        assert heard[4:] == ["DescribeKey", "GenerateDataKey"]
        # A caller whom the proxy refuses costs no call of a key.
        with pytest.raises(KmsError):
            await keys.decrypt(user("nobody"), made.key_arn, made.wrapped, CONTEXT)
        assert heard[6:] == ["DescribeKey"]


async def test_an_alias_that_moves_is_followed_within_a_minute() -> None:
    kms = await Kms().start()
    first, second = await kms.key(), await kms.key()
    await kms.call("CreateAlias", AliasName="alias/mine", TargetKeyId=first)
    async with listening(aws(kms, [])) as url, provider(url, first) as keys:
        keys._clock = kms.clock
        assert (await keys.generate_data_key(ADMIN, "alias/mine", CONTEXT)).key_arn.endswith(first)
        await kms.call("UpdateAlias", AliasName="alias/mine", TargetKeyId=second)
        kms.clock.advance(seconds=61)
        assert (await keys.generate_data_key(ADMIN, "alias/mine", CONTEXT)).key_arn.endswith(second)


async def test_what_stands_for_the_aws_managed_key() -> None:
    kms = await Kms().start()
    owned, managed = await kms.key(), await kms.key()
    async with listening(aws(kms, [])) as url, provider(url, owned, managed_key_id=managed) as keys:
        made = await keys.generate_data_key(ADMIN, AWS_MANAGED_S3_KEY, CONTEXT)
        assert made.key_arn.endswith(managed)
        assert await keys.decrypt(ADMIN, made.key_arn, made.wrapped, CONTEXT) == made.plaintext
        with pytest.raises(KmsError) as error:
            await keys.generate_data_key(user("nobody"), AWS_MANAGED_S3_KEY, CONTEXT)
        assert error.value.code == "AccessDeniedException"


async def test_a_configured_region_holds_for_the_buckets_of_all_regions() -> None:
    kms = await Kms().start()
    key_id = await kms.key()
    elsewhere = replace(ADMIN, region="eu-west-1")
    async with listening(aws(kms, [])) as url:
        async with provider(url, key_id, region=REGION) as keys:
            made = await keys.generate_data_key(elsewhere, key_id, CONTEXT)
            assert made.key_arn == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}"
        async with provider(url, made.key_arn) as keys:
            with pytest.raises(KmsError, match="does not exist"):
                await keys.generate_data_key(elsewhere, key_id, CONTEXT)
            # The key behind SSE-S3 is where its ARN says.
            assert (await keys.generate_data_key(elsewhere, S3_OWNED_KEY, CONTEXT)).key_arn == made.key_arn


async def test_a_policy_on_tags_of_keys_cannot_allow() -> None:
    kms = await Kms().start()
    key_id = await kms.key(Tags=[{"TagKey": "team", "TagValue": "a"}])

    def tagged(effect: str) -> dict[str, object]:
        condition = {"StringEquals": {"aws:ResourceTag/team": "a"}}
        return {"Effect": effect, "Action": "kms:*", "Resource": "*", "Condition": condition}

    anything = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
    async with listening(aws(kms, [])) as url, provider(url, key_id) as keys:
        for statements in ([tagged("Allow")], [anything, tagged("Deny")]):
            policy = {"Version": "2012-10-17", "Statement": statements}
            origin = replace(ADMIN, caller=replace(ADMIN.caller, policies=(policy,)))
            with pytest.raises(KmsError) as error:
                await keys.generate_data_key(origin, key_id, CONTEXT)
            assert error.value.code == "AccessDeniedException"


async def test_nothing_secret_shows() -> None:
    async with provider("http://127.0.0.1:9", KEY_ARN, session_token="token-of-the-proxy") as keys:
        assert "proxy-at-aws-kms" not in repr(keys._settings)
        assert "token-of-the-proxy" not in repr(keys._settings)


@pytest.mark.parametrize("algorithm", ["CRC64NVME", "SHA256", "SHA512"])
def test_a_ciphertext_blob_of_aws_leaves_room_for_a_clients_metadata(algorithm: str) -> None:
    """AWS's blob of a 256-bit data key has 184 bytes, ours 99; MinIO takes 2,048 bytes of metadata in all."""
    sizes = {"CRC64NVME": 8, "SHA256": 32, "SHA512": 64}
    checksum = base64.b64encode(bytes(sizes[algorithm])).decode()
    arn = "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
    wrapping = Wrapping(
        Mode.KMS,
        arn,
        bytes(184),
        {"department": "accounting", "project": "2026-11-audit"},
        bucket_key=bytes(32),
        object_arn="arn:aws:s3:::bucket/key",
    )
    header, _ = v1.seal_single(
        bytes(32),
        wrapping,
        plaintext_size=1 << 30,
        digests=Digests({algorithm: checksum}, bytes(16)),
        footer=Digests,
        random=FakeRandom(),
    )
    fields = encode(header)
    used = sum(len(name) + len(value) for name, value in fields.items())
    # With names in full, as MinIO counts them; S3 counts 11 bytes less for each of the three.
    assert used < 850
    assert PROFILES["minio"].metadata_limit - used >= 1200


class Events:
    """An audit log in memory; ``full`` makes it one that takes no more."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.full = False

    def record(self, event: Event | Lazy) -> None:
        self.events.append(event() if callable(event) else event)

    async def settle(self) -> None:
        if self.full:
            raise AuditUnavailable("full")


async def test_each_use_of_a_key_is_recorded_with_who_asked() -> None:
    kms, log = await Kms().start(), Events()
    key_id, owned = await kms.key(), await kms.key()
    async with listening(aws(kms, [])) as url, provider(url, owned, audit=log) as keys:
        made = await keys.generate_data_key(ADMIN, key_id, CONTEXT)
        await keys.decrypt(ADMIN, made.key_arn, made.wrapped, CONTEXT)
        await keys.re_encrypt(ADMIN, made.wrapped, made.key_arn, CONTEXT, key_id, {})
        with pytest.raises(KmsError):
            await keys.decrypt(user("nobody"), made.key_arn, made.wrapped, CONTEXT)
        await keys.generate_data_key(ADMIN, S3_OWNED_KEY, CONTEXT)
        names = [event["eventName"] for event in log.events]
        assert names == ["GenerateDataKey", "Decrypt", "ReEncrypt", "Decrypt"]
        assert [event.get("errorCode") for event in log.events] == [None, None, None, "AccessDenied"]
        assert log.events[3]["userIdentity"]["arn"].endswith("user/nobody")
        assert {event["resources"][0]["ARN"] for event in log.events} == {made.key_arn}
        assert log.events[0]["requestParameters"]["encryptionContext"] == CONTEXT
        shown = json.dumps(log.events)
        for secret in (made.plaintext, made.wrapped):
            assert base64.b64encode(secret).decode() not in shown
        log.full = True
        with pytest.raises(KmsError) as error:
            await keys.generate_data_key(ADMIN, key_id, CONTEXT)
        assert error.value.code == "DependencyTimeoutException"
