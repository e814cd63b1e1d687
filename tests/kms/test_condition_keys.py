"""The condition keys of KMS: what each one says of a request."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.aws import policy_keys
from proxy.aws.policy_conditions import Quantifier
from proxy.aws.policy_patterns import Values
from proxy.kms import condition_keys
from proxy.kms.condition_keys import Subject
from proxy.kms.model import KeyName, KmsKey
from tests.fakes import FakeClock
from tests.kms.harness import ACCOUNT, ADMIN, REGION, THROUGH_S3

NAME = KeyName(ACCOUNT, REGION, "1234abcd-12ab-34cd-56ef-1234567890ab")
KEY = KmsKey(NAME, FakeClock()(), "", tags=(("Team", "red"), ("Cost", "1")))
REPLICA = KmsKey(NAME, FakeClock()(), "", spec="RSA_2048", usage="SIGN_VERIFY", origin="EXTERNAL", multi_region=True,
                 primary_region="us-east-1", replica_regions=(REGION,))  # fmt: skip
PRIMARY = KmsKey(NAME, FakeClock()(), "", multi_region=True, primary_region=REGION)


def subject(action: str, key: KmsKey | None = KEY, *, through_s3: bool = False, **request: Any) -> Subject:
    origin = THROUGH_S3 if through_s3 else ADMIN
    context = request.get("EncryptionContext", {})
    return Subject(replace(origin, request=request), FakeClock(), action, key, context)


def value(name: str, action: str, key: KmsKey | None = KEY, **request: Any) -> Values | None:
    return subject(action, key, **request).lookup(name.lower())


A, B = {"AppName": "x"}, {"AppName": "x", "Stage": "y"}
TAGS = [{"TagKey": "Owner", "TagValue": "bob"}]


@pytest.mark.parametrize(
    ("name", "action", "request_members", "expected"),
    [
        ("kms:BypassPolicyLockoutSafetyCheck", "PutKeyPolicy", {"BypassPolicyLockoutSafetyCheck": True}, ("true",)),
        ("kms:BypassPolicyLockoutSafetyCheck", "CreateKey", {"BypassPolicyLockoutSafetyCheck": False}, ("false",)),
        ("kms:BypassPolicyLockoutSafetyCheck", "PutKeyPolicy", {}, ()),
        ("kms:CallerAccount", "Encrypt", {}, (ACCOUNT,)),
        ("kms:DataKeyPairSpec", "GenerateDataKeyPair", {"KeyPairSpec": "RSA_2048"}, ("RSA_2048",)),
        ("kms:EncryptionAlgorithm", "Encrypt", {}, ("SYMMETRIC_DEFAULT",)),
        ("kms:EncryptionAlgorithm", "Decrypt", {"EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}, ("RSAES_OAEP_SHA_1",)),
        ("kms:EncryptionAlgorithm", "GenerateDataKey", {"EncryptionAlgorithm": "ignored"}, ("SYMMETRIC_DEFAULT",)),
        ("kms:EncryptionAlgorithm", "ReEncryptFrom", {"SourceEncryptionAlgorithm": "A"}, ("A",)),
        ("kms:EncryptionAlgorithm", "ReEncryptTo", {"SourceEncryptionAlgorithm": "A"}, ("SYMMETRIC_DEFAULT",)),
        ("kms:EncryptionAlgorithm", "ReEncryptTo", {"DestinationEncryptionAlgorithm": "B"}, ("B",)),
        ("kms:EncryptionAlgorithm", "Sign", {}, ()),
        ("kms:EncryptionContext:AppName", "Encrypt", {"EncryptionContext": B}, ("x",)),
        ("kms:EncryptionContext:appname", "Encrypt", {"EncryptionContext": B}, ("x",)),
        ("kms:EncryptionContext:Stage", "Encrypt", {"EncryptionContext": A}, ()),
        ("kms:EncryptionContext:a", "Encrypt", {"EncryptionContext": {"a": "1", "A": "2"}}, ("1", "2")),
        ("kms:EncryptionContext:a:b", "Encrypt", {"EncryptionContext": {"a:b": "1"}}, ("1",)),
        ("kms:EncryptionContext:AppName", "CreateGrant", {"Constraints": {"EncryptionContextSubset": A}}, ("x",)),
        ("kms:EncryptionContextKeys", "Encrypt", {"EncryptionContext": B}, ("AppName", "Stage")),
        ("kms:EncryptionContextKeys", "Encrypt", {}, ()),
        ("kms:EncryptionContextKeys", "CreateGrant", {"Constraints": {"EncryptionContextEquals": B}},
         ("AppName", "Stage")),
        ("kms:ExpirationModel", "ImportKeyMaterial", {"ExpirationModel": "X"}, ("X",)),
        ("kms:ExpirationModel", "ImportKeyMaterial", {}, ()),
        ("kms:GrantConstraintType", "CreateGrant", {"Constraints": {"EncryptionContextEquals": A}},
         ("EncryptionContextEquals",)),
        ("kms:GrantConstraintType", "CreateGrant", {}, ()),
        ("kms:GrantConstraintSourceArn", "CreateGrant", {"Constraints": {"SourceArn": "arn:x"}}, ("arn:x",)),
        ("kms:GrantIsForAWSResource", "CreateGrant", {}, ("false",)),
        ("kms:GrantIsForAWSResource", "CreateGrant", {"through_s3": True}, ("true",)),
        ("kms:GrantIsForAWSResource", "Encrypt", {"through_s3": True}, ()),
        ("kms:GrantOperations", "CreateGrant", {"Operations": ["Encrypt", "Decrypt"]}, ("Encrypt", "Decrypt")),
        ("kms:GranteePrincipal", "CreateGrant", {"GranteePrincipal": "arn:p"}, ("arn:p",)),
        ("kms:GranteeServicePrincipal", "CreateGrant", {"GranteeServicePrincipal": "s3.aws"}, ("s3.aws",)),
        ("kms:KeyAgreementAlgorithm", "DeriveSharedSecret", {"KeyAgreementAlgorithm": "ECDH"}, ("ECDH",)),
        ("kms:MacAlgorithm", "GenerateMac", {"MacAlgorithm": "HMAC_SHA_256"}, ("HMAC_SHA_256",)),
        ("kms:MessageType", "Sign", {"MessageType": "DIGEST"}, ("DIGEST",)),
        ("kms:MessageType", "Verify", {}, ("RAW",)),
        ("kms:PrimaryRegion", "UpdatePrimaryRegion", {"PrimaryRegion": "eu-west-1"}, ("eu-west-1",)),
        ("kms:ReplicaRegion", "ReplicateKey", {"ReplicaRegion": "eu-west-1"}, ("eu-west-1",)),
        ("kms:ReplicaRegion", "CreateKey", {"ReplicaRegion": "eu-west-1"}, ()),
        ("kms:RequestAlias", "Encrypt", {"KeyId": "alias/a/b"}, ("alias/a/b",)),
        ("kms:RequestAlias", "Sign", {"KeyId": f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/a"}, ("alias/a",)),
        ("kms:RequestAlias", "Encrypt", {"KeyId": KEY.arn}, ()),
        ("kms:RequestAlias", "Decrypt", {}, ()),
        ("kms:RequestAlias", "ReEncryptFrom", {"SourceKeyId": "alias/a", "DestinationKeyId": "alias/b"}, ("alias/a",)),
        ("kms:RequestAlias", "ReEncryptTo", {"SourceKeyId": "alias/a", "DestinationKeyId": "alias/b"}, ("alias/b",)),
        ("kms:RequestAlias", "CreateAlias", {"KeyId": "alias/a"}, ()),
        ("kms:RetiringPrincipal", "CreateGrant", {"RetiringPrincipal": "arn:p"}, ("arn:p",)),
        ("kms:RetiringServicePrincipal", "CreateGrant", {"RetiringServicePrincipal": "s"}, ("s",)),
        ("kms:RotationPeriodInDays", "EnableKeyRotation", {"RotationPeriodInDays": 90}, ("90",)),
        ("kms:RotationPeriodInDays", "EnableKeyRotation", {}, ("365",)),
        ("kms:ScheduleKeyDeletionPendingWindowInDays", "ScheduleKeyDeletion", {"PendingWindowInDays": 7}, ("7",)),
        ("kms:ScheduleKeyDeletionPendingWindowInDays", "ScheduleKeyDeletion", {}, ("30",)),
        ("kms:SigningAlgorithm", "Sign", {"SigningAlgorithm": "ECDSA_SHA_256"}, ("ECDSA_SHA_256",)),
        ("kms:ValidTo", "ImportKeyMaterial", {"ValidTo": datetime(2026, 11, 23, 6, tzinfo=UTC)}, ("1795413600.0",)),
        ("kms:ViaService", "Decrypt", {"through_s3": True}, (f"s3.{REGION}.amazonaws.com",)),
        ("kms:ViaService", "Decrypt", {}, ()),
        ("kms:WrappingAlgorithm", "GetParametersForImport", {"WrappingAlgorithm": "W"}, ("W",)),
        ("kms:WrappingKeySpec", "GetParametersForImport", {"WrappingKeySpec": "RSA_2048"}, ("RSA_2048",)),
        ("kms:RecipientAttestation:PCR0", "Decrypt", {}, ()),
        ("kms:RecipientAttestation:ImageSha384", "Decrypt", {}, ()),
        ("kms:RecipientAttestation:NitroTPMPCR12", "Decrypt", {}, ()),
        ("kms:RecipientAttestation:PCR32", "Decrypt", {}, None),
        ("kms:NoSuchKey", "Decrypt", {}, None),
        ("kms:ResourceAliases", "Decrypt", {}, None),
        ("s3:prefix", "Decrypt", {}, ()),
        ("aws:ResourceTag/team", "Decrypt", {}, ("red",)),
        ("aws:ResourceTag/other", "Decrypt", {}, ()),
        ("aws:RequestTag/Owner", "TagResource", {"Tags": TAGS}, ("bob",)),
        ("aws:TagKeys", "TagResource", {"Tags": TAGS}, ("Owner",)),
        ("aws:TagKeys", "UntagResource", {"TagKeys": ["a", "b"]}, ("a", "b")),
        ("aws:ResourceAccount", "Decrypt", {}, (ACCOUNT,)),
        ("aws:ViaAWSService", "Decrypt", {"through_s3": True}, ("true",)),
        ("aws:NoSuchKey", "Decrypt", {}, None),
    ],
)  # fmt: skip
def test_values(name: str, action: str, request_members: dict[str, Any], expected: Values | None) -> None:
    assert value(name, action, **request_members) == expected


@pytest.mark.parametrize(
    ("name", "symmetric", "replica", "primary"),
    [
        ("kms:KeySpec", ("SYMMETRIC_DEFAULT",), ("RSA_2048",), ("SYMMETRIC_DEFAULT",)),
        ("kms:CustomerMasterKeySpec", ("SYMMETRIC_DEFAULT",), ("RSA_2048",), ("SYMMETRIC_DEFAULT",)),
        ("kms:KeyUsage", ("ENCRYPT_DECRYPT",), ("SIGN_VERIFY",), ("ENCRYPT_DECRYPT",)),
        ("kms:CustomerMasterKeyUsage", ("ENCRYPT_DECRYPT",), ("SIGN_VERIFY",), ("ENCRYPT_DECRYPT",)),
        ("kms:KeyOrigin", ("AWS_KMS",), ("EXTERNAL",), ("AWS_KMS",)),
        ("kms:MultiRegion", ("false",), ("true",), ("true",)),
        ("kms:MultiRegionKeyType", (), ("REPLICA",), ("PRIMARY",)),
    ],
)
def test_properties_of_the_key(name: str, symmetric: Values, replica: Values, primary: Values) -> None:
    for key, expected in ((KEY, symmetric), (REPLICA, replica), (PRIMARY, primary)):
        assert value(name, "DescribeKey", key, KeySpec="ignored", Origin="ignored") == expected
    assert value(name, "ListKeys", None) == ()


@pytest.mark.parametrize(
    ("name", "default", "given"),
    [
        ("kms:KeySpec", ("SYMMETRIC_DEFAULT",), ("RSA_2048",)),
        ("kms:CustomerMasterKeySpec", ("SYMMETRIC_DEFAULT",), ("RSA_2048",)),
        ("kms:KeyUsage", ("ENCRYPT_DECRYPT",), ("SIGN_VERIFY",)),
        ("kms:KeyOrigin", ("AWS_KMS",), ("EXTERNAL",)),
        ("kms:MultiRegion", ("false",), ("true",)),
        ("kms:MultiRegionKeyType", (), ("PRIMARY",)),
    ],
)
def test_properties_of_a_key_to_be_made(name: str, default: Values, given: Values) -> None:
    assert value(name, "CreateKey", None) == default
    asked = {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY", "Origin": "EXTERNAL", "MultiRegion": True}
    assert value(name, "CreateKey", None, **asked) == given


def test_a_replica_to_be_made() -> None:
    assert value("kms:MultiRegionKeyType", "CreateKey", None, ReplicaRegion="eu-west-1") == ("REPLICA",)
    assert value("kms:MultiRegion", "CreateKey", None, ReplicaRegion="eu-west-1") == ("true",)


def test_the_name_that_a_caller_in_process_gives_the_key() -> None:
    named = subject("GenerateDataKey")._replace(key_id="alias/mine")
    assert named.lookup("kms:requestalias") == ("alias/mine",)


@pytest.mark.parametrize(
    ("name", "quantifier", "fault"),
    [
        ("kms:viaservice", None, None),
        ("kms:resourcealiases", Quantifier.FOR_ANY_VALUE, None),
        ("kms:reencryptonsamekey", None, None),
        ("kms:trailingdayswithoutkeyusage", None, None),
        ("kms:encryptioncontext:a", None, None),
        ("kms:encryptioncontext:a", Quantifier.FOR_ANY_VALUE, None),
        ("kms:encryptioncontext:a", Quantifier.FOR_ALL_VALUES,
         policy_keys.OVERLY_PERMISSIVE.format("encryption context")),
        ("kms:encryptioncontextkeys", Quantifier.FOR_ALL_VALUES, None),
        ("kms:recipientattestation:pcr31", None, None),
        ("kms:encryptioncontext:", None, "Invalid condition key kms:encryptioncontext:"),
        ("kms:recipientattestation:pcr32", None, "Invalid condition key kms:recipientattestation:pcr32"),
        ("kms:keyspecs", None, "Invalid condition key kms:keyspecs"),
        ("keyspec", None, "Invalid condition key keyspec"),
        ("aws:sourceip", None, None),
        ("aws:source", None, "Invalid condition key aws:source"),
        ("saml:sub", None, None),
        ("cognito-identity.amazonaws.com:sub", None, None),
    ],
)  # fmt: skip
def test_faults(name: str, quantifier: Quantifier | None, fault: str | None) -> None:
    assert condition_keys.fault(name, quantifier) == fault
