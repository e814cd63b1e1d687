"""CreateKey, DescribeKey, ListKeys, names of keys, aliases, tags, policies."""

import asyncio
import json
import re
from typing import Any

import pytest

from proxy.kms import key_policies
from tests.kms.harness import ACCOUNT, ADMIN, REGION, Kms, KmsFault, user

ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def refusal(kms: Kms, operation: str, origin: Any = ADMIN, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, origin, **members)
    return caught.value.code, caught.value.message


async def test_a_new_key_as_aws_describes_it(kms: Kms) -> None:
    made = (await kms.call("CreateKey", Description="mine"))["KeyMetadata"]
    material = made.pop("CurrentKeyMaterialId")
    key_id = made["KeyId"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", key_id)
    assert re.fullmatch(r"[0-9a-f]{64}", material)
    assert made == {
        "AWSAccountId": ACCOUNT,
        "KeyId": key_id,
        "Arn": f"{ARN}:key/{key_id}",
        "CreationDate": kms.clock.now,
        "Enabled": True,
        "Description": "mine",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": "Enabled",
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": False,
    }
    described = (await kms.call("DescribeKey", KeyId=key_id))["KeyMetadata"]
    assert described == made | {"CurrentKeyMaterialId": material}


async def test_a_multi_region_key_is_a_primary(kms: Kms) -> None:
    made = (await kms.call("CreateKey", MultiRegion=True))["KeyMetadata"]
    assert re.fullmatch(r"mrk-[0-9a-f]{32}", made["KeyId"])
    assert made["MultiRegion"] is True
    assert made["MultiRegionConfiguration"] == {
        "MultiRegionKeyType": "PRIMARY",
        "PrimaryKey": {"Arn": made["Arn"], "Region": REGION},
        "ReplicaKeys": [],
    }
    blob = (await kms.call("Encrypt", KeyId=made["Arn"], Plaintext=b"x"))["CiphertextBlob"]
    assert (await kms.call("Decrypt", CiphertextBlob=blob))["KeyId"] == made["Arn"]


async def test_a_key_for_imported_material_waits_for_it(kms: Kms) -> None:
    made = (await kms.call("CreateKey", Origin="EXTERNAL"))["KeyMetadata"]
    assert (made["KeyState"], made["Enabled"], made["Origin"]) == ("PendingImport", False, "EXTERNAL")
    assert not {"CurrentKeyMaterialId", "ExpirationModel", "ValidTo"} & made.keys()


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": "cks-1"}, "CustomKeyStoreNotFoundException"),
        ({"Origin": "EXTERNAL_KEY_STORE", "XksKeyId": "a"}, "ValidationException"),
        ({"KeyUsage": "SIGN_VERIFY"}, "ValidationException"),
        ({"KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT"}, "ValidationException"),
        ({"KeySpec": "AES_512"}, "ValidationException"),
        ({"Policy": "{"}, "MalformedPolicyDocumentException"),
        ({"Tags": [{"TagKey": "aws:x", "TagValue": ""}]}, "TagException"),
        ({"Tags": [{"TagKey": "x", "TagValue": ""}, {"TagKey": "x", "TagValue": ""}]}, "TagException"),
        ({"Tags": [{"TagKey": str(n), "TagValue": ""} for n in range(51)]}, "LimitExceededException"),
    ],
)
async def test_keys_that_cannot_be_made(kms: Kms, members: dict[str, Any], code: str) -> None:
    assert (await refusal(kms, "CreateKey", **members))[0] == code
    assert (await kms.call("ListKeys"))["Keys"] == []


@pytest.mark.parametrize(
    ("key_id", "code", "message"),
    [
        ("fake-key-id", "NotFoundException", "Invalid keyId 'fake-key-id'"),
        ("s3-owned-key", "NotFoundException", "Invalid keyId 's3-owned-key'"),
        ("aws/s3", "NotFoundException", "Invalid keyId 'aws/s3'"),
        (UNKNOWN, "NotFoundException", f"Key '{ARN}:key/{UNKNOWN}' does not exist"),
        (f"{ARN}:key/{UNKNOWN}", "NotFoundException", f"Key '{ARN}:key/{UNKNOWN}' does not exist"),
        (f"mrk-{0:032x}", "NotFoundException", f"Key '{ARN}:key/mrk-{0:032x}' does not exist"),
        (f"{ARN}:key/nonsense", "NotFoundException", "Invalid keyId 'nonsense'"),
        (f"arn:aws:kms:us-west-2:{ACCOUNT}:key/{UNKNOWN}", "NotFoundException", "Invalid arn us-west-2"),
        (f"arn:aws:kms:us-west-2:{ACCOUNT}:alias/a", "NotFoundException", "Invalid arn us-west-2"),
        ("alias/none", "NotFoundException", f"Alias {ARN}:alias/none is not found."),
        (f"{ARN}:alias/none", "NotFoundException", f"Alias {ARN}:alias/none is not found."),
        ("arn:aws:s3:::bucket", "NotFoundException", "Invalid arn arn:aws:s3:::bucket"),
        ("arn:nonsense", "NotFoundException", "Invalid arn arn:nonsense"),
        (f"{ARN}:grant/{UNKNOWN}", "NotFoundException", f"Invalid arn {ARN}:grant/{UNKNOWN}"),
    ],
)
@pytest.mark.parametrize("operation", ["DescribeKey", "Encrypt"])
async def test_names_of_no_key(kms: Kms, operation: str, key_id: str, code: str, message: str) -> None:
    members = {"Plaintext": b"x"} if operation == "Encrypt" else {}
    assert await refusal(kms, operation, KeyId=key_id, **members) == (code, message)


async def test_a_key_has_four_names(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("CreateAlias", AliasName="alias/one", TargetKeyId=f"{ARN}:key/{key}")
    for name in (key, f"{ARN}:key/{key}", "alias/one", f"{ARN}:alias/one"):
        assert (await kms.call("DescribeKey", KeyId=name))["KeyMetadata"]["KeyId"] == key
        assert (await kms.call("Encrypt", KeyId=name, Plaintext=b"x"))["KeyId"] == f"{ARN}:key/{key}"
    assert await refusal(kms, "DisableKey", KeyId="alias/one") == ("NotFoundException", "Invalid keyId 'alias/one'")


async def test_every_region_and_account_has_keys_of_its_own(kms: Kms) -> None:
    elsewhere = user("admin", "kms:*", region="eu-west-1")
    stranger = user("admin", "kms:*", account="444455556666")
    key = await kms.key()
    await kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=key)
    for origin in (elsewhere, stranger):
        assert (await kms.call("ListKeys", origin))["Keys"] == []
        assert (await kms.call("ListAliases", origin))["Aliases"] == []
        assert (await refusal(kms, "DescribeKey", origin, KeyId=key))[0] == "NotFoundException"
        assert (await refusal(kms, "DescribeKey", origin, KeyId="alias/a"))[0] == "NotFoundException"
    theirs = await kms.key(elsewhere)
    await kms.call("CreateAlias", elsewhere, AliasName="alias/a", TargetKeyId=theirs)
    described = (await kms.call("DescribeKey", elsewhere, KeyId="alias/a"))["KeyMetadata"]
    assert described["Arn"] == f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{theirs}"
    assert (await kms.call("DescribeKey", KeyId="alias/a"))["KeyMetadata"]["KeyId"] == key


async def test_partitions_follow_the_region(kms: Kms) -> None:
    china = user("admin", "kms:*", region="cn-north-1")
    made = (await kms.call("CreateKey", china))["KeyMetadata"]
    assert made["Arn"].startswith("arn:aws-cn:kms:cn-north-1:")


async def test_list_keys_by_pages(kms: Kms) -> None:
    made = sorted([await kms.key() for _ in range(5)])
    found, marker = [], None
    for _ in range(3):
        page = await kms.call("ListKeys", Limit=2, **({"Marker": marker} if marker else {}))
        found += [key["KeyId"] for key in page["Keys"]]
        marker = page.get("NextMarker")
        assert page["Truncated"] is (marker is not None)
    assert (found, marker) == (made, None)
    assert (await kms.call("ListKeys", Limit=5))["Truncated"] is False
    assert (await refusal(kms, "ListKeys", Marker="~"))[0] == "InvalidMarkerException"


async def test_aliases_are_made_moved_listed_and_deleted(kms: Kms) -> None:
    one, two = await kms.key(), await kms.key()
    await kms.call("CreateAlias", AliasName="alias/x/y-z_1", TargetKeyId=one)
    created = kms.clock.now
    kms.clock.advance(hours=1)
    await kms.call("UpdateAlias", AliasName="alias/x/y-z_1", TargetKeyId=two)
    assert (await kms.call("ListAliases"))["Aliases"] == [
        {
            "AliasName": "alias/x/y-z_1",
            "AliasArn": f"{ARN}:alias/x/y-z_1",
            "TargetKeyId": two,
            "CreationDate": created,
            "LastUpdatedDate": kms.clock.now,
        }
    ]
    assert (await kms.call("ListAliases", KeyId=one))["Aliases"] == []
    assert len((await kms.call("ListAliases", KeyId=two))["Aliases"]) == 1
    await kms.call("DeleteAlias", AliasName="alias/x/y-z_1")
    assert (await kms.call("ListAliases"))["Aliases"] == []
    assert (await refusal(kms, "DeleteAlias", AliasName="alias/x/y-z_1"))[
        1
    ] == f"Alias {ARN}:alias/x/y-z_1 is not found."


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("alias/there", "AlreadyExistsException", f"An alias with the name {ARN}:alias/there already exists"),
        ("there", "ValidationException", "Invalid identifier"),
        ("alias/", "ValidationException", "Invalid identifier"),
        ("alias/a:b", "ValidationException", "alias/a:b contains invalid characters for an alias"),
        ("alias/aws/mine", "NotAuthorizedException", ""),
    ],
)
async def test_alias_names_that_cannot_be(kms: Kms, name: str, code: str, message: str) -> None:
    key = await kms.key()
    await kms.call("CreateAlias", AliasName="alias/there", TargetKeyId=key)
    assert await refusal(kms, "CreateAlias", AliasName=name, TargetKeyId=key) == (code, message)


async def test_an_alias_of_an_alias_cannot_be(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("CreateAlias", AliasName="alias/there", TargetKeyId=key)
    code, message = await refusal(kms, "CreateAlias", AliasName="alias/more", TargetKeyId="alias/there")
    assert (code, message) == ("ValidationException", "Aliases must refer to keys. Not aliases")


async def test_one_of_many_equal_aliases_is_made(kms: Kms) -> None:
    key = await kms.key()
    calls = (kms.call("CreateAlias", AliasName="alias/one", TargetKeyId=key) for _ in range(8))
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result.code for result in results if isinstance(result, KmsFault)]
    assert refused == ["AlreadyExistsException"] * 7


async def test_tags(kms: Kms) -> None:
    key = await kms.key(Tags=[{"TagKey": "b", "TagValue": "1"}, {"TagKey": "a", "TagValue": ""}])
    await kms.call("TagResource", KeyId=key, Tags=[{"TagKey": "b", "TagValue": "2"}, {"TagKey": "c", "TagValue": "3"}])
    await kms.call("UntagResource", KeyId=key, TagKeys=["a", "nothing"])
    listed = await kms.call("ListResourceTags", KeyId=key)
    assert listed == {
        "Tags": [{"TagKey": "b", "TagValue": "2"}, {"TagKey": "c", "TagValue": "3"}],
        "Truncated": False,
    }
    page = await kms.call("ListResourceTags", KeyId=key, Limit=1)
    assert [tag["TagKey"] for tag in page["Tags"]] == ["b"]
    page = await kms.call("ListResourceTags", KeyId=key, Limit=1, Marker=page["NextMarker"])
    assert ([tag["TagKey"] for tag in page["Tags"]], page["Truncated"]) == (["c"], False)


async def test_concurrent_changes_of_one_key_are_all_kept(kms: Kms) -> None:
    key = await kms.key()
    names = [f"tag{number:02d}" for number in range(30)]
    await asyncio.gather(
        *(kms.call("TagResource", KeyId=key, Tags=[{"TagKey": name, "TagValue": ""}]) for name in names)
    )
    listed = await kms.call("ListResourceTags", KeyId=key)
    assert [tag["TagKey"] for tag in listed["Tags"]] == names


async def test_the_default_key_policy(kms: Kms) -> None:
    key = await kms.key()
    answer = await kms.call("GetKeyPolicy", KeyId=key)
    assert answer["PolicyName"] == "default"
    assert json.loads(answer["Policy"]) == {
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [
            {
                "Sid": "Enable IAM User Permissions",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }
    assert await kms.call("ListKeyPolicies", KeyId=key) == {"PolicyNames": ["default"], "Truncated": False}
    assert await refusal(kms, "GetKeyPolicy", KeyId=key, PolicyName="mine") == (
        "NotFoundException",
        "No such policy exists",
    )


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def allow(principal: Any, action: Any = "kms:*") -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"}


async def test_a_policy_that_locks_its_author_out(kms: Kms) -> None:
    key = await kms.key()
    for text in (
        policy(allow({"AWS": f"arn:aws:iam::{ACCOUNT}:user/somebody"})),
        policy(allow({"AWS": ADMIN.caller.arn}, "kms:Encrypt")),
        policy(allow("*") | {"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}),
    ):
        assert await refusal(kms, "PutKeyPolicy", KeyId=key, Policy=text) == (
            "MalformedPolicyDocumentException",
            "The new key policy will not allow you to update the key policy in the future.",
        )
        assert (await refusal(kms, "CreateKey", Policy=text))[0] == "MalformedPolicyDocumentException"
    await kms.call("PutKeyPolicy", KeyId=key, Policy=text, BypassPolicyLockoutSafetyCheck=True)
    code, message = await refusal(kms, "GetKeyPolicy", KeyId=key)
    assert code == "AccessDeniedException"
    assert message.endswith("because no resource-based policy allows the kms:GetKeyPolicy action")


@pytest.mark.parametrize(
    "text",
    [
        policy({"Effect": "Allow", "Principal": "*"}),
        policy(allow("*") | {"Unknown": 1}),
        policy(allow({"AWS": "nobody"})),
        policy({"Effect": "Allow", "Action": "kms:*", "Resource": "*"}),
        "[]",
        "not JSON",
        '{"Statement": []}',
    ],
)
async def test_a_policy_that_is_none(kms: Kms, text: str) -> None:
    key = await kms.key()
    assert (await refusal(kms, "PutKeyPolicy", KeyId=key, Policy=text))[0] == "MalformedPolicyDocumentException"
    assert (await kms.call("GetKeyPolicy", KeyId=key))["Policy"] == key_policies.default(ACCOUNT, REGION)


async def test_a_policy_that_is_too_long(kms: Kms) -> None:
    key = await kms.key()
    text = policy(allow(f"arn:aws:iam::{ACCOUNT}:root") | {"Sid": "x" * 33_000})
    assert (await refusal(kms, "PutKeyPolicy", KeyId=key, Policy=text))[0] == "LimitExceededException"


async def test_the_description_can_be_changed(kms: Kms) -> None:
    key = await kms.key(Description="one")
    await kms.call("UpdateKeyDescription", KeyId=key, Description="zwei ü \U0001f600")
    assert (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]["Description"] == "zwei ü \U0001f600"
