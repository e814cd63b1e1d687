"""Multi-Region keys through boto3, in several Regions of one endpoint served by two workers."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.stores import REGION, Endpoint

OREGON, OSAKA = "us-west-2", "ap-northeast-3"


@pytest.fixture
def clients(two_worker_endpoint: Endpoint) -> dict[str, Any]:
    """KMS clients by Region."""
    return {region: two_worker_endpoint.client("kms", region=region) for region in (REGION, OREGON, OSAKA)}


@pytest.fixture
def key(clients: dict[str, Any]) -> str:
    """A multi-Region key with a replica in each of the other Regions."""
    made: str = clients[REGION].create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    for region in (OREGON, OSAKA):
        answer = clients[REGION].replicate_key(KeyId=made, ReplicaRegion=region)
        assert answer["ReplicaKeyMetadata"]["KeyState"] == "Creating"
    return made


def code_of(call: Callable[..., Any], **members: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**members)
    return str(caught.value.response["Error"]["Code"])


def test_every_region_opens_what_every_other_sealed_after_each_rotation(clients: dict[str, Any], key: str) -> None:
    blobs = []
    for turn in range(3):
        for client in clients.values():
            blobs.append(client.encrypt(KeyId=key, Plaintext=b"%d" % turn)["CiphertextBlob"])
        clients[REGION].rotate_key_on_demand(KeyId=key)
        for client in clients.values():
            opened = [client.decrypt(CiphertextBlob=blob)["Plaintext"] for blob in blobs]
            assert opened == [b"%d" % (number // 3) for number in range(len(blobs))]
    histories = [client.list_key_rotations(KeyId=key)["Rotations"] for client in clients.values()]
    assert {tuple(each["KeyMaterialId"] for each in history) for history in histories} == {
        tuple(each["KeyMaterialId"] for each in histories[0])
    }
    assert len(histories[0]) == 3


def test_errors_come_back_as_modelled(clients: dict[str, Any], key: str) -> None:
    primary, replica = clients[REGION], clients[OREGON]
    with pytest.raises(primary.exceptions.AlreadyExistsException):
        primary.replicate_key(KeyId=key, ReplicaRegion=OREGON)
    with pytest.raises(replica.exceptions.UnsupportedOperationException, match="is not a multi-region primary key"):
        replica.replicate_key(KeyId=key, ReplicaRegion="eu-west-1")
    with pytest.raises(primary.exceptions.NotFoundException):
        primary.update_primary_region(KeyId=key, PrimaryRegion="eu-west-1")
    replica.disable_key(KeyId=key)
    with pytest.raises(primary.exceptions.DisabledException):
        primary.update_primary_region(KeyId=key, PrimaryRegion=OREGON)


def test_the_primary_moves_and_waits_for_its_replicas(clients: dict[str, Any], key: str) -> None:
    clients[REGION].update_primary_region(KeyId=key, PrimaryRegion=OSAKA)
    for region, client in clients.items():
        configuration = client.describe_key(KeyId=key)["KeyMetadata"]["MultiRegionConfiguration"]
        assert configuration["MultiRegionKeyType"] == ("PRIMARY" if region == OSAKA else "REPLICA")
        assert configuration["PrimaryKey"]["Region"] == OSAKA
        assert [each["Region"] for each in configuration["ReplicaKeys"]] == [REGION, OREGON]
    answer = clients[OSAKA].schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert (answer["KeyState"], "DeletionDate" in answer) == ("PendingReplicaDeletion", False)
    answer = clients[OREGON].schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert (answer["KeyState"], "DeletionDate" in answer) == ("PendingDeletion", True)
    for region in (OSAKA, OREGON):
        clients[region].cancel_key_deletion(KeyId=key)
        assert clients[region].describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"


@pytest.mark.parametrize(
    ("spec", "usage"),
    [("ECC_NIST_P256", "SIGN_VERIFY"), ("HMAC_256", "GENERATE_VERIFY_MAC"), ("RSA_2048", "SIGN_VERIFY")],
)
def test_keys_of_other_specs_are_the_same_in_every_region(clients: dict[str, Any], spec: str, usage: str) -> None:
    here, there = clients[REGION], clients[OREGON]
    key = here.create_key(MultiRegion=True, KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
    here.replicate_key(KeyId=key, ReplicaRegion=OREGON)
    if usage == "GENERATE_VERIFY_MAC":
        mac = {"KeyId": key, "Message": b"message", "MacAlgorithm": "HMAC_SHA_256"}
        assert there.verify_mac(**mac, Mac=here.generate_mac(**mac)["Mac"])["MacValid"]
        return
    algorithm = "ECDSA_SHA_256" if spec.startswith("ECC") else "RSASSA_PSS_SHA_256"
    signing = {"KeyId": key, "Message": b"message", "SigningAlgorithm": algorithm}
    assert here.verify(**signing, Signature=there.sign(**signing)["Signature"])["SignatureValid"]
    assert here.get_public_key(KeyId=key)["PublicKey"] == there.get_public_key(KeyId=key)["PublicKey"]


def test_s3_takes_them_for_single_region_keys(
    two_worker_endpoint: Endpoint, clients: dict[str, Any], key: str, bucket_name: str
) -> None:
    s3 = two_worker_endpoint.client("s3")
    s3.create_bucket(Bucket=bucket_name, CreateBucketConfiguration={"LocationConstraint": REGION})
    arns = {region: client.describe_key(KeyId=key)["KeyMetadata"]["Arn"] for region, client in clients.items()}
    put = {"Bucket": bucket_name, "Key": "key", "Body": b"body", "ServerSideEncryption": "aws:kms"}
    assert s3.put_object(**put, SSEKMSKeyId=arns[REGION])["SSEKMSKeyId"] == arns[REGION]
    assert code_of(s3.put_object, **put, SSEKMSKeyId=arns[OREGON]) == "KMS.NotFoundException"
    clients[REGION].disable_key(KeyId=key)
    assert code_of(s3.get_object, Bucket=bucket_name, Key="key") == "KMS.DisabledException"
    clients[REGION].enable_key(KeyId=key)
    for region in (OREGON, OSAKA):
        clients[region].disable_key(KeyId=key)
    assert s3.get_object(Bucket=bucket_name, Key="key")["Body"].read() == b"body"
