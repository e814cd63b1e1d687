"""Audit events: one for each call, in CloudTrail's shape, with the keys it concerns and without secrets."""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from proxy.aws.credentials import Caller, CallOrigin, Session
from proxy.kms import audit_events
from proxy.kms.audit import Audit, AuditUnavailable, Event, Lazy, time_text
from proxy.kms.errors import KmsError
from proxy.kms.operation import perform
from proxy.kms.provider import S3_OWNED_KEY
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.quotas import SYMMETRIC, MemoryQuotaStore, RequestQuotas
from tests.fakes import FakeClock
from tests.kms.harness import ACCOUNT, ADMIN, REGION, THROUGH_S3, Kms, KmsFault, user

MODEL = botocore.session.get_session().get_service_model("kms")
CONTEXT = {"Project": "alpha", "aws:s3:arn": "arn:aws:s3:::b/k"}


class Heard(Audit):
    """Keeps events; can be made to fail."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.settled = 0
        self.broken = False

    def record(self, event: Event | Lazy) -> None:
        self.events.append(json.loads(json.dumps(event() if callable(event) else event)))

    async def settle(self) -> None:
        self.settled = len(self.events)
        if self.broken:
            raise AuditUnavailable("no space left")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def kms(heard: Heard) -> Kms:
    return await Kms(audit=heard).start()


def key_arn(key_id: str, account: str = ACCOUNT) -> str:
    return f"arn:aws:kms:{REGION}:{account}:key/{key_id}"


def key_resource(key_id: str) -> dict[str, str]:
    return {"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": key_arn(key_id)}


async def test_the_record_of_a_call(kms: Kms, heard: Heard) -> None:
    key = await kms.key()
    origin = replace(ADMIN, source_address="192.0.2.9", user_agent="aws-cli/1.46")
    await kms.call("Encrypt", origin, KeyId=key, Plaintext=b"very secret", EncryptionContext=CONTEXT)
    event = dict(heard.events[-1])
    event_id = event.pop("eventID")
    assert [len(part) for part in event_id.split("-")] == [8, 4, 4, 4, 12]
    assert event == {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLE",
            "arn": ADMIN.caller.arn,
            "accountId": ACCOUNT,
            "accessKeyId": "AKIAEXAMPLE",
            "userName": "admin",
        },
        "eventTime": "2026-11-23T06:00:00Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": "Encrypt",
        "awsRegion": REGION,
        "sourceIPAddress": "192.0.2.9",
        "userAgent": "aws-cli/1.46",
        "requestParameters": {"keyId": key, "encryptionContext": CONTEXT},
        "responseElements": None,
        "requestID": "00000000-0000-4000-8000-000000000000",
        "readOnly": True,
        "resources": [key_resource(key)],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    }
    assert heard.settled == len(heard.events)


async def test_calls_that_change_something_have_response_elements(kms: Kms, heard: Heard) -> None:
    key = await kms.key(Description="photos", Tags=[{"TagKey": "Team", "TagValue": "x"}])
    created = heard.events[-1]
    assert created["requestParameters"] == {"description": "photos", "tags": [{"tagKey": "Team", "tagValue": "x"}]}
    assert created["responseElements"]["keyMetadata"]["keyId"] == key
    assert created["responseElements"]["keyMetadata"]["creationDate"] == "Nov 23, 2026, 6:00:00 AM"
    assert (created["readOnly"], created["resources"]) == (False, [key_resource(key)])

    await kms.call("DisableKey", KeyId=key)
    assert heard.events[-1]["responseElements"] == {"keyId": key_arn(key)}
    await kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    assert heard.events[-1]["responseElements"] == {
        "keyId": key_arn(key),
        "keyState": "PendingDeletion",
        "deletionDate": "Nov 30, 2026, 6:00:00 AM",
        "pendingWindowInDays": 7,
    }


async def test_aliases_and_the_keys_behind_them(kms: Kms, heard: Heard) -> None:
    key = await kms.key()
    alias = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/a"
    await kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=key)
    assert heard.events[-1]["resources"] == [
        {"accountId": ACCOUNT, "type": "AWS::KMS::Alias", "ARN": alias},
        key_resource(key),
    ]
    await kms.call("DescribeKey", KeyId="alias/a")
    assert heard.events[-1]["requestParameters"] == {"keyId": "alias/a"}
    assert heard.events[-1]["resources"] == [key_resource(key)]
    await kms.call("DisableKey", KeyId=key)
    with pytest.raises(KmsFault, match="DisabledException"):
        await kms.call("Encrypt", KeyId="alias/a", Plaintext=b"x")
    assert heard.events[-1]["resources"] == [key_resource(key)]


async def test_a_refusal_names_error_and_key(kms: Kms, heard: Heard) -> None:
    key = await kms.key()
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    nobody = user("nobody")
    with pytest.raises(KmsFault):
        await kms.call("Decrypt", nobody, CiphertextBlob=blob)
    event = heard.events[-1]
    assert (event["errorCode"], event["responseElements"]) == ("AccessDenied", None)
    assert "is not authorized to perform: kms:Decrypt" in event["errorMessage"]
    assert event["resources"] == [key_resource(key)]
    assert event["userIdentity"]["userName"] == "nobody"

    with pytest.raises(KmsFault):
        await kms.call("DescribeKey", KeyId="11111111-2222-3333-4444-555555555555")
    assert heard.events[-1]["errorCode"] == "NotFoundException"
    with pytest.raises(KmsFault):
        await kms.call("Decrypt", CiphertextBlob=b"garbage")
    assert (heard.events[-1]["errorCode"], heard.events[-1]["resources"]) == ("InvalidCiphertextException", [])


async def test_a_request_that_cannot_be_read_is_recorded_without_what_was_in_it(kms: Kms, heard: Heard) -> None:
    with pytest.raises(KmsFault, match="ValidationException"):
        await kms.call("Encrypt", KeyId="k", Plaintext=b"", GrantTokens=["secret token"] * 11)
    event = heard.events[-1]
    assert (event["eventName"], event["requestParameters"]) == ("Encrypt", None)
    assert event["errorMessage"] == "2 validation errors detected"
    assert "secret token" not in json.dumps(event)


async def test_grant_tokens_do_not_show(kms: Kms, heard: Heard) -> None:
    key = await kms.key()
    principal = f"arn:aws:iam::{ACCOUNT}:user/bob"
    grant = await kms.call("CreateGrant", KeyId=key, GranteePrincipal=principal, Operations=["Decrypt"])
    assert heard.events[-1]["responseElements"] == {"grantId": grant["GrantId"]}
    await kms.call("DescribeKey", KeyId=key, GrantTokens=[grant["GrantToken"]])
    await kms.call("RetireGrant", GrantToken=grant["GrantToken"])
    assert heard.events[-1]["resources"] == [key_resource(key)]
    assert grant["GrantToken"] not in json.dumps(heard.events)


async def test_re_encrypt_names_both_keys(kms: Kms, heard: Heard) -> None:
    source, destination = await kms.key(), await kms.key()
    blob = (await kms.call("Encrypt", KeyId=source, Plaintext=b"x"))["CiphertextBlob"]
    await kms.call("ReEncrypt", CiphertextBlob=blob, DestinationKeyId=destination)
    assert heard.events[-1]["resources"] == [key_resource(source), key_resource(destination)]


async def test_a_key_of_another_account(kms: Kms, heard: Heard) -> None:
    key = await kms.key()
    stranger = user("stranger", "kms:*", account="444455556666")
    with pytest.raises(KmsFault):
        await kms.call("DescribeKey", stranger, KeyId=key_arn(key))
    event = heard.events[-1]
    assert (event["recipientAccountId"], event["resources"]) == ("444455556666", [key_resource(key)])
    assert event["sharedEventID"] != event["eventID"]
    assert "sharedEventID" not in heard.events[0]


# Who


def caller(arn: str, user_id: str, session: Session | None = None) -> CallOrigin:
    return CallOrigin(Caller(ACCOUNT, arn, user_id, "ASIAEXAMPLE", ADMIN.caller.policies, session), REGION)


async def test_identities(kms: Kms, heard: Heard) -> None:
    issued = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
    role = f"arn:aws:iam::{ACCOUNT}:role/deploy"
    session = Session(issued, issued + timedelta(hours=1), role)
    assumed = f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/me"
    await kms.call("ListKeys", caller(assumed, "AROAEXAMPLE:me", session))
    attributes = {"creationDate": "2026-11-23T05:00:00Z", "mfaAuthenticated": "false"}
    assert heard.events[-1]["userIdentity"] == {
        "type": "AssumedRole",
        "principalId": "AROAEXAMPLE:me",
        "arn": assumed,
        "accountId": ACCOUNT,
        "accessKeyId": "ASIAEXAMPLE",
        "sessionContext": {
            "attributes": attributes,
            "sessionIssuer": {
                "type": "Role",
                "principalId": "AROAEXAMPLE",
                "arn": role,
                "accountId": ACCOUNT,
                "userName": "deploy",
            },
        },
    }
    own = replace(session, role_arn=None)
    await kms.call("ListKeys", caller(f"arn:aws:iam::{ACCOUNT}:user/path/bob", "AIDABOB", own))
    identity = heard.events[-1]["userIdentity"]
    assert (identity["type"], identity["userName"]) == ("IAMUser", "bob")
    assert identity["sessionContext"] == {"attributes": attributes}
    await kms.call("ListKeys", caller(f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT))
    assert heard.events[-1]["userIdentity"]["type"] == "Root"
    assert "userName" not in heard.events[-1]["userIdentity"]


# S3


async def test_the_use_of_a_key_by_s3_is_recorded_as_well(kms: Kms, heard: Heard) -> None:
    key = await kms.key()
    heard.events.clear()
    provider = EmbeddedKeyProvider(kms.service)
    origin = replace(THROUGH_S3, request_id="0123456789ABCDEF")
    made = await provider.generate_data_key(origin, key, CONTEXT)
    await provider.decrypt(origin, made.key_arn, made.wrapped, CONTEXT)
    assert [event["eventName"] for event in heard.events] == ["GenerateDataKey", "Decrypt"]
    for event in heard.events:
        assert event["userIdentity"]["arn"] == ADMIN.caller.arn
        assert event["userIdentity"]["invokedBy"] == "s3.amazonaws.com"
        assert event["requestID"] == "0123456789ABCDEF"
        assert event["resources"] == [key_resource(key)]
        assert event["requestParameters"]["encryptionContext"] == CONTEXT
    text = json.dumps(heard.events)
    for secret in (made.plaintext, made.wrapped):
        assert base64.b64encode(secret).decode() not in text
        assert secret.hex() not in text


async def test_the_key_that_the_service_owns_is_nobodys_affair(kms: Kms, heard: Heard) -> None:
    provider = EmbeddedKeyProvider(kms.service)
    made = await provider.generate_data_key(THROUGH_S3, S3_OWNED_KEY, {})
    await provider.decrypt(THROUGH_S3, S3_OWNED_KEY, made.wrapped, {})
    assert heard.events == []


# Faults


async def test_what_cannot_be_recorded_is_not_answered(kms: Kms, heard: Heard) -> None:
    key = await kms.key()
    heard.broken = True
    with pytest.raises(KmsFault) as caught:
        await kms.call("GenerateDataKey", KeyId=key, KeySpec="AES_256")
    assert (caught.value.code, caught.value.status) == ("DependencyTimeoutException", 503)
    with pytest.raises(KmsError) as raised:
        await EmbeddedKeyProvider(kms.service).generate_data_key(THROUGH_S3, key, {})
    assert raised.value.code == "DependencyTimeoutException"


async def test_throttled_calls_are_recorded(heard: Heard) -> None:
    clock = FakeClock()
    quotas = RequestQuotas(MemoryQuotaStore(), clock, rates={SYMMETRIC: 1})
    kms = await Kms(clock=clock, audit=heard, request_quotas=quotas).start()
    await kms.call("GenerateRandom", NumberOfBytes=1)
    with pytest.raises(KmsFault):
        await kms.call("GenerateRandom", NumberOfBytes=1)
    assert heard.events[-1]["errorCode"] == "ThrottlingException"
    assert heard.events[-1]["requestParameters"] == {"numberOfBytes": 1}


async def test_a_call_whose_client_has_gone_is_recorded(kms: Kms, heard: Heard) -> None:
    async def never(_: Any) -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(perform(kms.service, ADMIN, "DisableKey", lambda: {"KeyId": "k"}, never, lambda _: None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard.events[-1]["errorCode"] == "RequestAbandoned"


# No secrets, whatever the operation


def sample(shape: Shape, secret: str, path: tuple[str, ...] = ()) -> Any:
    """A value with every member there is; blobs and what the model calls sensitive hold ``secret``."""
    if isinstance(shape, StructureShape):
        return {
            name: sample(member, secret, (*path, name)) for name, member in shape.members.items() if name not in path
        }
    if isinstance(shape, ListShape):
        return [sample(shape.member, secret, path)]
    if isinstance(shape, MapShape):
        return {"Name": sample(shape.value, secret, path)}
    if shape.type_name == "blob":
        return secret.encode()
    if shape.metadata.get("sensitive") or path[-1] in ("GrantToken", "GrantTokens"):
        return secret
    if shape.type_name == "timestamp":
        return datetime(2026, 1, 1, tzinfo=UTC)
    return {"integer": 1, "long": 1, "boolean": True}.get(shape.type_name, "text")


@pytest.mark.parametrize("operation", MODEL.operation_names)
def test_nothing_secret_shows(operation: str) -> None:
    model = MODEL.operation_model(operation)
    secret = "5ecret0fThe0peration"
    for shape in (model.input_shape, model.output_shape):
        if shape is None:
            continue
        values = sample(shape, secret)
        assert isinstance(values, Mapping)
        text = json.dumps(audit_events.shown(values))
        assert secret not in text
        assert base64.b64encode(secret.encode()).decode() not in text


@pytest.mark.parametrize(
    ("operation", "read_only"),
    [
        ("Decrypt", True),
        ("GenerateDataKeyPair", True),
        ("GetParametersForImport", True),
        ("ListGrants", True),
        ("Sign", True),
        ("CreateKey", False),
        ("ImportKeyMaterial", False),
        ("RetireGrant", False),
        ("EnableKeyRotation", False),
    ],
)
def test_what_only_reads(operation: str, read_only: bool) -> None:
    assert audit_events.is_read_only(operation) is read_only


@pytest.mark.parametrize(
    ("hour", "text"),
    [(0, "12:05:09 AM"), (6, "6:05:09 AM"), (12, "12:05:09 PM"), (13, "1:05:09 PM"), (23, "11:05:09 PM")],
)
def test_times(hour: int, text: str) -> None:
    assert time_text(datetime(2026, 2, 3, hour, 5, 9, tzinfo=UTC)) == f"Feb 3, 2026, {text}"
