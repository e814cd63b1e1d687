"""boto3's own client calls every operation of its model, and reads every answer and every error, in process."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import botocore.session
import pytest
from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError
from multidict import CIMultiDict

from proxy.aws.message import Request
from proxy.server import kms as endpoint
from tests.kms.harness import ACCOUNT, ADMIN, REGION, Kms
from tests.kms.imports import encrypt_material

SERVICE = botocore.session.get_session().get_service_model("kms")
OPERATIONS = list(SERVICE.operation_names)
NO_KEY = "00000000-0000-4000-8000-000000000000"
CUSTOM_STORE = {"CustomKeyStoreId": "cks-1234567890abcdef0"}


class Raw:
    """A body as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._body


class Client:
    """boto3's client over a key service in this process, and the names of the operations it has called."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.kms = self.runner.run(Kms().start())
        self.succeeded: set[str] = set()
        self.boto = boto3.client(
            "kms", region_name=REGION, aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="secret"
        )
        self.boto.meta.events.register("before-send.kms", self._answer)

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        headers = CIMultiDict(
            (name, value.decode() if isinstance(value, bytes) else value) for name, value in request.headers.items()
        )
        body = request.body.encode() if isinstance(request.body, str) else request.body
        response = self.runner.run(
            endpoint.handle(self.kms.service, Request("POST", "/", headers=headers, body=body), ADMIN)
        )
        return AWSResponse(request.url, response.status, dict(response.headers), Raw(response.body))

    def __call__(self, operation: str, **members: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self.boto, _method(operation))(**members)
        assert answer.pop("ResponseMetadata")["HTTPStatusCode"] == 200
        self.succeeded.add(operation)
        return answer

    def fails(self, operation: str, code: str, **members: Any) -> None:
        """The call fails with an exception of the model: the operation's own, or the service's."""
        with pytest.raises(self.boto.exceptions.from_code(code)) as caught:
            getattr(self.boto, _method(operation))(**members)
        assert caught.type is not ClientError
        assert caught.value.response["Error"]["Code"] == code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400

    def key(self, **members: Any) -> str:
        return str(self("CreateKey", **members)["KeyMetadata"]["KeyId"])


def _method(operation: str) -> str:
    return str(xform_name(operation))


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.runner.run(made.kms.service.aclose())
    made.runner.close()


def test_every_operation_succeeds(client: Client) -> None:
    key, other = client.key(Description="one", Tags=[{"TagKey": "a", "TagValue": "b"}]), client.key()
    keys(client, key)
    symmetric(client, key, other)
    asymmetric(client)
    grants(client, key)
    imports(client)
    multi_region(client)
    client("ScheduleKeyDeletion", KeyId=other)
    client("CancelKeyDeletion", KeyId=other)
    client("DescribeCustomKeyStores")
    without_success = {operation for operation in OPERATIONS if "CustomKeyStore" in operation}
    assert client.succeeded == set(OPERATIONS) - (without_success - {"DescribeCustomKeyStores"})


def keys(client: Client, key: str) -> None:
    for operation in ("DescribeKey", "DisableKey", "EnableKey", "EnableKeyRotation", "GetKeyRotationStatus"):
        client(operation, KeyId=key)
    for operation in ("RotateKeyOnDemand", "ListKeyRotations", "DisableKeyRotation", "GetKeyLastUsage"):
        client(operation, KeyId=key)
    assert len(client("ListKeys")["Keys"]) == 2
    client("UpdateKeyDescription", KeyId=key, Description="two")
    policy = client("GetKeyPolicy", KeyId=key)["Policy"]
    client("PutKeyPolicy", KeyId=key, Policy=policy)
    assert client("ListKeyPolicies", KeyId=key)["PolicyNames"] == ["default"]
    client("TagResource", KeyId=key, Tags=[{"TagKey": "c", "TagValue": "d"}])
    client("UntagResource", KeyId=key, TagKeys=["c"])
    assert client("ListResourceTags", KeyId=key)["Tags"] == [{"TagKey": "a", "TagValue": "b"}]
    client("CreateAlias", AliasName="alias/a", TargetKeyId=key)
    client("UpdateAlias", AliasName="alias/a", TargetKeyId=key)
    assert [alias["AliasName"] for alias in client("ListAliases", KeyId=key)["Aliases"]] == ["alias/a"]
    client("DeleteAlias", AliasName="alias/a")


def symmetric(client: Client, key: str, other: str) -> None:
    context = {"a": "b"}
    sealed = client("Encrypt", KeyId=key, Plaintext=b"secret", EncryptionContext=context)
    moved = client(
        "ReEncrypt",
        CiphertextBlob=sealed["CiphertextBlob"],
        SourceEncryptionContext=context,
        DestinationKeyId=other,
    )
    assert client("Decrypt", CiphertextBlob=moved["CiphertextBlob"])["Plaintext"] == b"secret"
    data_key = client("GenerateDataKey", KeyId=key, KeySpec="AES_256")
    assert client("Decrypt", CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    client("GenerateDataKeyWithoutPlaintext", KeyId=key, NumberOfBytes=64)
    pair = client("GenerateDataKeyPair", KeyId=key, KeyPairSpec="ECC_NIST_P256")
    opened = client("Decrypt", CiphertextBlob=pair["PrivateKeyCiphertextBlob"])
    assert opened["Plaintext"] == pair["PrivateKeyPlaintext"]
    client("GenerateDataKeyPairWithoutPlaintext", KeyId=key, KeyPairSpec="RSA_2048")
    assert len(client("GenerateRandom", NumberOfBytes=9)["Plaintext"]) == 9


def asymmetric(client: Client) -> None:
    signing = client.key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    signed = {"KeyId": signing, "Message": b"m", "SigningAlgorithm": "RSASSA_PSS_SHA_256"}
    signature = client("Sign", **signed)["Signature"]
    assert client("Verify", Signature=signature, **signed)["SignatureValid"] is True
    client.fails("Verify", "KMSInvalidSignatureException", Signature=b"x", **signed)
    mac_key = client.key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    authenticated = {"KeyId": mac_key, "Message": b"m", "MacAlgorithm": "HMAC_SHA_256"}
    mac = client("GenerateMac", **authenticated)["Mac"]
    assert client("VerifyMac", Mac=mac, **authenticated)["MacValid"] is True
    client.fails("VerifyMac", "KMSInvalidMacException", Mac=b"x", **authenticated)
    agreement = client.key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")
    public = client("GetPublicKey", KeyId=agreement)["PublicKey"]
    derived = client("DeriveSharedSecret", KeyId=agreement, KeyAgreementAlgorithm="ECDH", PublicKey=public)
    assert len(derived["SharedSecret"]) == 32


def grants(client: Client, key: str) -> None:
    principal = f"arn:aws:iam::{ACCOUNT}:user/grantee"
    members = {
        "KeyId": key,
        "GranteePrincipal": principal,
        "Operations": ["Encrypt"],
        "RetiringPrincipal": ADMIN.caller.arn,
    }
    one, two = client("CreateGrant", **members), client("CreateGrant", **members)
    assert len(client("ListGrants", KeyId=key)["Grants"]) == 2
    assert len(client("ListRetirableGrants", RetiringPrincipal=ADMIN.caller.arn)["Grants"]) == 2
    client("RevokeGrant", KeyId=key, GrantId=one["GrantId"])
    client("RetireGrant", GrantToken=two["GrantToken"])
    client.fails("CreateGrant", "DryRunOperationException", DryRun=True, **members)


def imports(client: Client) -> None:
    key = client.key(Origin="EXTERNAL")
    algorithm = "RSA_AES_KEY_WRAP_SHA_256"
    asked = {"KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048"}
    parameters = client("GetParametersForImport", **asked)
    client(
        "ImportKeyMaterial",
        KeyId=key,
        ImportToken=parameters["ImportToken"],
        EncryptedKeyMaterial=encrypt_material(parameters["PublicKey"], b"m" * 32, algorithm),
        ValidTo=client.kms.clock.now + timedelta(days=1),
    )
    client("DeleteImportedKeyMaterial", KeyId=key)
    common = {"KeyId": key, "EncryptedKeyMaterial": b"x", "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    client.fails("ImportKeyMaterial", "InvalidImportTokenException", ImportToken=b"x", **common)
    token = parameters["ImportToken"]
    client.fails("ImportKeyMaterial", "InvalidCiphertextException", ImportToken=token, **common)
    client.kms.clock.advance(hours=24)
    client.fails("ImportKeyMaterial", "ExpiredImportTokenException", ImportToken=token, **common)


def multi_region(client: Client) -> None:
    key = client.key(MultiRegion=True)
    client("ReplicateKey", KeyId=key, ReplicaRegion="us-west-2")
    client("UpdatePrimaryRegion", KeyId=key, PrimaryRegion="us-west-2")


UNKNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "CancelKeyDeletion": ("NotFoundException", {}),
    "ConnectCustomKeyStore": ("CustomKeyStoreNotFoundException", CUSTOM_STORE),
    "CreateAlias": ("NotFoundException", {"AliasName": "alias/a", "TargetKeyId": NO_KEY}),
    "CreateCustomKeyStore": ("UnsupportedOperationException", {"CustomKeyStoreName": "a"}),
    "CreateGrant": ("NotFoundException", {"GranteePrincipal": ADMIN.caller.arn, "Operations": ["Encrypt"]}),
    "CreateKey": ("MalformedPolicyDocumentException", {"Policy": "{}"}),
    "Decrypt": ("InvalidCiphertextException", {"CiphertextBlob": b"x"}),
    "DeleteAlias": ("NotFoundException", {"AliasName": "alias/a"}),
    "DeleteCustomKeyStore": ("CustomKeyStoreNotFoundException", CUSTOM_STORE),
    "DeriveSharedSecret": ("NotFoundException", {"KeyAgreementAlgorithm": "ECDH", "PublicKey": b"x"}),
    "DescribeCustomKeyStores": ("CustomKeyStoreNotFoundException", CUSTOM_STORE),
    "DisconnectCustomKeyStore": ("CustomKeyStoreNotFoundException", CUSTOM_STORE),
    "Encrypt": ("NotFoundException", {"Plaintext": b"x"}),
    "GenerateDataKey": ("NotFoundException", {"KeySpec": "AES_256"}),
    "GenerateDataKeyPair": ("NotFoundException", {"KeyPairSpec": "RSA_2048"}),
    "GenerateDataKeyPairWithoutPlaintext": ("NotFoundException", {"KeyPairSpec": "RSA_2048"}),
    "GenerateDataKeyWithoutPlaintext": ("NotFoundException", {"KeySpec": "AES_256"}),
    "GenerateMac": ("NotFoundException", {"Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}),
    "GenerateRandom": ("CustomKeyStoreNotFoundException", {"NumberOfBytes": 1} | CUSTOM_STORE),
    "GetParametersForImport": (
        "NotFoundException",
        {"WrappingAlgorithm": "RSAES_OAEP_SHA_1", "WrappingKeySpec": "RSA_2048"},
    ),
    "ImportKeyMaterial": ("NotFoundException", {"ImportToken": b"x", "EncryptedKeyMaterial": b"x"}),
    "ListAliases": ("NotFoundException", {"KeyId": NO_KEY}),
    "ListKeys": ("InvalidMarkerException", {"Marker": "!"}),
    "ListRetirableGrants": ("InvalidMarkerException", {"RetiringPrincipal": ADMIN.caller.arn, "Marker": "!"}),
    "PutKeyPolicy": ("NotFoundException", {"Policy": "{}"}),
    "ReEncrypt": ("InvalidCiphertextException", {"CiphertextBlob": b"x", "DestinationKeyId": NO_KEY}),
    "ReplicateKey": ("NotFoundException", {"ReplicaRegion": "us-west-2"}),
    "RetireGrant": ("InvalidGrantTokenException", {"GrantToken": "x"}),
    "RevokeGrant": ("NotFoundException", {"GrantId": "0" * 64}),
    "Sign": ("NotFoundException", {"Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}),
    "TagResource": ("NotFoundException", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
    "UntagResource": ("NotFoundException", {"TagKeys": ["a"]}),
    "UpdateAlias": ("NotFoundException", {"AliasName": "alias/a", "TargetKeyId": NO_KEY}),
    "UpdateCustomKeyStore": ("CustomKeyStoreNotFoundException", CUSTOM_STORE),
    "UpdateKeyDescription": ("NotFoundException", {"Description": "a"}),
    "UpdatePrimaryRegion": ("NotFoundException", {"PrimaryRegion": "us-west-2"}),
    "Verify": ("NotFoundException", {"Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256", "Signature": b"x"}),
    "VerifyMac": ("NotFoundException", {"Message": b"x", "MacAlgorithm": "HMAC_SHA_256", "Mac": b"x"}),
}
"""Operations whose failure needs more than an unknown KeyId."""


def test_every_operation_fails_with_an_exception_of_the_model(client: Client) -> None:
    for operation in OPERATIONS:
        code, members = UNKNOWN.get(operation, ("NotFoundException", {}))
        if "KeyId" in SERVICE.operation_model(operation).input_shape.required_members:
            members = {"KeyId": NO_KEY} | members
        client.fails(operation, code, **members)
        named = {shape.metadata.get("error", {}).get("code", shape.name) for shape in
                 SERVICE.operation_model(operation).error_shapes}  # fmt: skip
        # What is said of custom key stores is the service's exception, where the operation does not list it.
        assert code in named or operation in ("CreateCustomKeyStore", "ListKeys", "ListRetirableGrants"), operation
