"""Imported key material."""

from datetime import timedelta
from typing import Any

import pytest

from proxy.kms import import_token
from proxy.kms.import_token import ImportToken
from tests.kms.harness import Kms, KmsFault
from tests.kms.imports import encrypt_material, import_material

MATERIAL = bytes(range(100, 132))


async def refused(kms: Kms, *args: Any, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await import_material(kms, *args, **members)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


@pytest.fixture
async def key(kms: Kms) -> str:
    return await kms.key(Origin="EXTERNAL")


@pytest.mark.parametrize("algorithm", import_token.WRAPPING_ALGORITHMS)
async def test_every_wrapping_algorithm(kms: Kms, key: str, algorithm: str) -> None:
    answer = await import_material(kms, key, MATERIAL, algorithm=algorithm, valid_for=timedelta(days=5))
    described = (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]
    assert answer == {"KeyId": described["Arn"], "KeyMaterialId": described["CurrentKeyMaterialId"]}
    assert (described["KeyState"], described["Enabled"]) == ("Enabled", True)
    assert described["ExpirationModel"] == "KEY_MATERIAL_EXPIRES"
    assert described["ValidTo"] == kms.clock.now + timedelta(days=5)


@pytest.mark.parametrize(("spec", "size"), [("RSA_2048", 294), ("RSA_3072", 422), ("RSA_4096", 550)])
async def test_every_wrapping_key_spec(kms: Kms, key: str, spec: str, size: int) -> None:
    parameters = await kms.call(
        "GetParametersForImport", KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec=spec
    )
    assert parameters["KeyId"].endswith(f":key/{key}")
    assert parameters["ParametersValidTo"] == kms.clock.now + timedelta(hours=24)
    assert len(parameters["PublicKey"]) == size
    await import_material(kms, key, MATERIAL, parameters=parameters)
    assert await kms.state(key) == "Enabled"


async def test_every_call_makes_a_new_pair(kms: Kms, key: str) -> None:
    members = {"KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_1", "WrappingKeySpec": "RSA_2048"}
    one, two = await kms.call("GetParametersForImport", **members), await kms.call("GetParametersForImport", **members)
    assert one["PublicKey"] != two["PublicKey"]
    mixed = {"ImportToken": one["ImportToken"], "PublicKey": two["PublicKey"]}
    assert (await refused(kms, key, MATERIAL, parameters=mixed))[0] == "InvalidCiphertextException"


async def test_what_cannot_be_asked_for(kms: Kms, key: str) -> None:
    for algorithm, spec in (("SM2PKE", "SM2"), ("RSAES_OAEP_SHA_1", "SM2")):
        with pytest.raises(KmsFault, match="UnsupportedOperationException"):
            await kms.call("GetParametersForImport", KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)
    own = await kms.key()
    with pytest.raises(KmsFault, match="origin is AWS_KMS which is not valid for this operation"):
        await kms.call(
            "GetParametersForImport", KeyId=own, WrappingAlgorithm="RSAES_OAEP_SHA_1", WrappingKeySpec="RSA_2048"
        )


async def test_pkcs1_can_be_refused() -> None:
    kms = await Kms(allow_pkcs1_import=False).start()
    key = await kms.key(Origin="EXTERNAL")
    assert (await refused(kms, key, MATERIAL, algorithm="RSAES_PKCS1_V1_5"))[0] == "UnsupportedOperationException"
    await import_material(kms, key, MATERIAL)


async def test_blobs_open_again_after_the_same_material_is_back(kms: Kms, key: str) -> None:
    first = await import_material(kms, key, MATERIAL)
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"secret"))["CiphertextBlob"]
    assert await kms.call("DeleteImportedKeyMaterial", KeyId=key) == first
    assert await kms.state(key) == "PendingImport"
    assert await kms.store.scan("material") == []
    assert not kms.service.ring.held
    assert "ExpirationModel" not in (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]
    assert await refused(kms, key, bytes(32)) == ("IncorrectKeyMaterialException", "")
    assert await kms.state(key) == "PendingImport"
    assert await import_material(kms, key, MATERIAL) == first
    assert (await kms.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"secret"


async def test_deleting_what_is_not_there(kms: Kms, key: str) -> None:
    assert (await kms.call("DeleteImportedKeyMaterial", KeyId=key))["KeyMaterialId"] == ""
    with pytest.raises(KmsFault, match="NotFoundException"):
        await kms.call("DeleteImportedKeyMaterial", KeyId=key, KeyMaterialId="0" * 64)
    first = await import_material(kms, key, MATERIAL)
    for _ in range(2):
        assert await kms.call("DeleteImportedKeyMaterial", KeyId=key) == first


async def test_importing_again_changes_the_expiry(kms: Kms, key: str) -> None:
    await import_material(kms, key, MATERIAL, valid_for=timedelta(days=1))
    await import_material(kms, key, MATERIAL)
    described = (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]
    assert (described["ExpirationModel"], "ValidTo" in described) == ("KEY_MATERIAL_DOES_NOT_EXPIRE", False)
    kms.clock.advance(days=400)
    assert await kms.state(key) == "Enabled"


async def test_a_disabled_key_stays_disabled_when_its_material_is_imported_again(kms: Kms, key: str) -> None:
    await import_material(kms, key, MATERIAL)
    await kms.call("DisableKey", KeyId=key)
    await import_material(kms, key, MATERIAL)
    assert await kms.state(key) == "Disabled"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"ExpirationModel": "KEY_MATERIAL_EXPIRES"},
            "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES",
        ),
        ({"valid_for": timedelta(0)}, "The validTo date must be in the future"),
        ({"valid_for": timedelta(days=365, seconds=1)}, "The validTo date must be within 365 days"),
        (
            {"valid_for": timedelta(days=1), "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"},
            "A validTo date cannot be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE",
        ),
    ],
)
async def test_dates_that_cannot_be(kms: Kms, key: str, members: dict[str, Any], message: str) -> None:
    assert await refused(kms, key, MATERIAL, **members) == ("ValidationException", message)
    assert await kms.state(key) == "PendingImport"


@pytest.mark.parametrize("algorithm", ["RSAES_PKCS1_V1_5", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256"])
@pytest.mark.parametrize("size", [16, 31, 33])
async def test_material_of_another_size(kms: Kms, key: str, algorithm: str, size: int) -> None:
    code, _ = await refused(kms, key, bytes(size), algorithm=algorithm)
    assert code == "IncorrectKeyMaterialException"


async def test_material_that_cannot_be_decrypted(kms: Kms, key: str) -> None:
    for algorithm in import_token.WRAPPING_ALGORITHMS:
        members = {"KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048"}
        parameters = await kms.call("GetParametersForImport", **members)
        whole = encrypt_material(parameters["PublicKey"], MATERIAL, algorithm)
        for damaged in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], b"garbage"):
            with pytest.raises(KmsFault, match=r"^400 (InvalidCiphertextException|IncorrectKeyMaterialException): $"):
                await kms.call(
                    "ImportKeyMaterial",
                    KeyId=key,
                    ImportToken=parameters["ImportToken"],
                    EncryptedKeyMaterial=damaged,
                    ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
                )
    assert await kms.state(key) == "PendingImport"


async def test_tokens_that_do_not_fit(kms: Kms, key: str) -> None:
    members = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    parameters = await kms.call("GetParametersForImport", KeyId=key, **members)
    other = await kms.key(Origin="EXTERNAL")
    assert await refused(kms, other, MATERIAL, parameters=parameters) == ("InvalidImportTokenException", "")
    token = parameters["ImportToken"]
    for wrong in (token[:-1] + bytes([token[-1] ^ 1]), token[:10], b"x"):
        wrong_parameters = parameters | {"ImportToken": wrong}
        assert (await refused(kms, key, MATERIAL, parameters=wrong_parameters))[0] == "InvalidImportTokenException"
    stranger = await Kms().start()
    their_key = await stranger.key(Origin="EXTERNAL")
    assert (await refused(stranger, their_key, MATERIAL, parameters=parameters))[0] == "InvalidImportTokenException"
    kms.clock.advance(hours=24)
    assert await refused(kms, key, MATERIAL, parameters=parameters) == ("ExpiredImportTokenException", "")
    kms.clock.advance(milliseconds=-1)
    await import_material(kms, key, MATERIAL, parameters=parameters)


async def test_import_types_and_material_ids(kms: Kms, key: str) -> None:
    existing = {"ImportType": "EXISTING_KEY_MATERIAL"}
    assert (await refused(kms, key, MATERIAL, **existing))[0] == "IncorrectKeyMaterialException"
    first = (await import_material(kms, key, MATERIAL, KeyMaterialDescription="one"))["KeyMaterialId"]
    assert (await refused(kms, key, MATERIAL, ImportType="NEW_KEY_MATERIAL"))[0] == "IncorrectKeyMaterialException"
    await import_material(kms, key, MATERIAL, KeyMaterialId=first, **existing)
    assert (await refused(kms, key, MATERIAL, KeyMaterialId="0" * 64))[0] == "IncorrectKeyMaterialException"
    new = {"ImportType": "NEW_KEY_MATERIAL", "KeyMaterialId": first}
    assert (await refused(kms, key, bytes(32), **new))[0] == "ValidationException"
    listed = await kms.call("ListKeyRotations", KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    (only,) = listed["Rotations"]
    assert (only["KeyMaterialDescription"], only["KeyMaterialId"]) == ("one", first)


async def test_equal_material_in_two_keys_has_two_ids_and_opens_nothing_across(kms: Kms, key: str) -> None:
    other = await kms.key(Origin="EXTERNAL")
    one, two = await import_material(kms, key, MATERIAL), await import_material(kms, other, MATERIAL)
    assert one["KeyMaterialId"] != two["KeyMaterialId"]
    blobs = [(await kms.call("Encrypt", KeyId=each, Plaintext=b"x"))["CiphertextBlob"] for each in (key, other)]
    with pytest.raises(KmsFault, match="InvalidCiphertextException"):
        await kms.call("Decrypt", CiphertextBlob=blobs[1][:27] + blobs[0][27:])


def test_the_private_key_shows_in_no_repr() -> None:
    token = ImportToken("a/b/c", 0, "RSAES_OAEP_SHA_256", import_token.new_wrapping_key("RSA_2048"))
    assert "private_key" not in repr(token)
