"""Every key spec: which keys can be made, and what their metadata says."""

from itertools import product
from typing import Any

import botocore.session
import pytest

from proxy.kms import key_pairs, key_specs
from proxy.kms.key_specs import KEY_SPECS
from proxy.kms.model import KeyName
from tests.kms.harness import Kms, KmsFault

SERVICE = botocore.session.get_session().get_service_model("kms")
SPECS = SERVICE.shape_for("KeySpec").enum
USAGES = SERVICE.shape_for("KeyUsageType").enum

RSA_ENCRYPTION = {"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"}
RSA_SIGNING = {f"RSASSA_{padding}_SHA_{bits}" for padding in ("PSS", "PKCS1_V1_5") for bits in (256, 384, 512)}
RSA = {"ENCRYPT_DECRYPT": RSA_ENCRYPTION, "SIGN_VERIFY": RSA_SIGNING}
ML_DSA = {"SIGN_VERIFY": {"ML_DSA_SHAKE_256"}}

# https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html
EXPECTED: dict[str, dict[str, set[str]]] = {
    "SYMMETRIC_DEFAULT": {"ENCRYPT_DECRYPT": {"SYMMETRIC_DEFAULT"}},
    "RSA_2048": RSA,
    "RSA_3072": RSA,
    "RSA_4096": RSA,
    "ECC_NIST_P256": {"SIGN_VERIFY": {"ECDSA_SHA_256"}, "KEY_AGREEMENT": {"ECDH"}},
    "ECC_NIST_P384": {"SIGN_VERIFY": {"ECDSA_SHA_384"}, "KEY_AGREEMENT": {"ECDH"}},
    "ECC_NIST_P521": {"SIGN_VERIFY": {"ECDSA_SHA_512"}, "KEY_AGREEMENT": {"ECDH"}},
    "ECC_SECG_P256K1": {"SIGN_VERIFY": {"ECDSA_SHA_256"}},
    "ECC_NIST_EDWARDS25519": {"SIGN_VERIFY": {"ED25519_SHA_512", "ED25519_PH_SHA_512"}},
    "HMAC_224": {"GENERATE_VERIFY_MAC": {"HMAC_SHA_224"}},
    "HMAC_256": {"GENERATE_VERIFY_MAC": {"HMAC_SHA_256"}},
    "HMAC_384": {"GENERATE_VERIFY_MAC": {"HMAC_SHA_384"}},
    "HMAC_512": {"GENERATE_VERIFY_MAC": {"HMAC_SHA_512"}},
    "ML_DSA_44": ML_DSA,
    "ML_DSA_65": ML_DSA,
    "ML_DSA_87": ML_DSA,
}
LISTS = {
    "ENCRYPT_DECRYPT": "EncryptionAlgorithms",
    "SIGN_VERIFY": "SigningAlgorithms",
    "GENERATE_VERIFY_MAC": "MacAlgorithms",
    "KEY_AGREEMENT": "KeyAgreementAlgorithms",
}


async def refused(kms: Kms, **members: Any) -> tuple[str, str]:
    before = await kms.call("ListKeys")
    with pytest.raises(KmsFault) as caught:
        await kms.call("CreateKey", **members)
    assert caught.value.status == 400
    assert await kms.call("ListKeys") == before
    return caught.value.code, caught.value.message


def test_the_table_has_the_models_specs_but_the_chinese_one() -> None:
    assert KEY_SPECS.keys() == set(SPECS) - {key_specs.SM2} == EXPECTED.keys()
    assert all(spec.name == name for name, spec in KEY_SPECS.items())


def test_the_data_key_pairs_are_the_models() -> None:
    assert set(SERVICE.shape_for("DataKeyPairSpec").enum) == key_specs.DATA_KEY_PAIR_SPECS | {key_specs.SM2}


@pytest.mark.parametrize(("spec", "usage"), list(product(SPECS, USAGES)))
async def test_every_spec_with_every_usage(kms: Kms, spec: str, usage: str) -> None:
    if spec == "SM2":
        expected = ("UnsupportedOperationException", "KeySpec SM2 is not supported in this Region.")
        assert await refused(kms, KeySpec=spec, KeyUsage=usage) == expected
        return
    if usage not in EXPECTED[spec]:
        expected = ("ValidationException", f"KeyUsage {usage} is not compatible with KeySpec {spec}")
        assert await refused(kms, KeySpec=spec, KeyUsage=usage) == expected
        return
    # Keys for imported material are made without finding primes.
    origin = "EXTERNAL" if spec in ("RSA_3072", "RSA_4096") else "AWS_KMS"
    made = (await kms.call("CreateKey", KeySpec=spec, KeyUsage=usage, Origin=origin))["KeyMetadata"]
    assert (made["KeySpec"], made["CustomerMasterKeySpec"], made["KeyUsage"]) == (spec, spec, usage)
    assert set(made[LISTS[usage]]) == EXPECTED[spec][usage]
    assert len(made[LISTS[usage]]) == len(EXPECTED[spec][usage])
    assert not (set(LISTS.values()) - {LISTS[usage]}) & made.keys()
    assert ("CurrentKeyMaterialId" in made) is (spec == "SYMMETRIC_DEFAULT")
    assert (await kms.call("DescribeKey", KeyId=made["KeyId"]))["KeyMetadata"] == made


@pytest.mark.parametrize("spec", ["RSA_3072", "RSA_4096"])
async def test_the_service_makes_large_rsa_keys(kms: Kms, spec: str) -> None:
    key = await kms.key(KeySpec=spec, KeyUsage="SIGN_VERIFY")
    answer = await kms.call("Sign", KeyId=key, Message=b"m", SigningAlgorithm="RSASSA_PSS_SHA_512")
    assert len(answer["Signature"]) * 8 == KEY_SPECS[spec].bits


@pytest.mark.parametrize("spec", [spec for spec in EXPECTED if spec != "SYMMETRIC_DEFAULT"])
async def test_the_usage_has_to_be_said(kms: Kms, spec: str) -> None:
    assert await refused(kms, KeySpec=spec) == (
        "ValidationException",
        "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
    )


async def test_the_older_name_of_the_member(kms: Kms) -> None:
    key = await kms.key(CustomerMasterKeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    assert (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]["KeySpec"] == "ECC_NIST_P256"
    code, _ = await refused(kms, CustomerMasterKeySpec="HMAC_256", KeySpec="HMAC_256")
    assert code == "ValidationException"


async def test_what_the_library_does_not_have_is_refused(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_pairs, "is_offered", lambda spec: not spec.startswith("ML_DSA"))
    assert await refused(kms, KeySpec="ML_DSA_65", KeyUsage="SIGN_VERIFY") == (
        "UnsupportedOperationException",
        "KeySpec ML_DSA_65 is not supported in this Region.",
    )


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "HMAC_256", "ML_DSA_44"])
async def test_only_symmetric_keys_rotate(kms: Kms, spec: str) -> None:
    usage = next(iter(EXPECTED[spec]))
    key = await kms.key(KeySpec=spec, KeyUsage=usage)
    for operation in ("EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"):
        with pytest.raises(KmsFault, match=f"UnsupportedOperationException: .* key spec is {spec} which is not valid"):
            await kms.call(operation, KeyId=key)
    assert (await kms.call("GetKeyRotationStatus", KeyId=key))["KeyRotationEnabled"] is False


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "HMAC_256", "ML_DSA_44"])
async def test_a_replica_has_the_same_material(kms: Kms, spec: str) -> None:
    usage = "GENERATE_VERIFY_MAC" if spec == "HMAC_256" else "SIGN_VERIFY"
    key = await kms.key(KeySpec=spec, KeyUsage=usage, MultiRegion=True)
    await kms.call("ReplicateKey", KeyId=key, ReplicaRegion="us-east-1")
    there = await kms.service.key((await _name(kms, key))._replace(region="us-east-1"))
    here = await kms.service.key(await _name(kms, key))
    assert there is not None
    assert here is not None
    ring = kms.service.ring
    assert await ring.loaded(there.name, 1, bytes) == await ring.loaded(here.name, 1, bytes)
    assert there.public_key == here.public_key
    assert (here.public_key == b"") is (spec == "HMAC_256")


async def _name(kms: Kms, key: str) -> KeyName:
    arn = (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]["Arn"].split(":")
    return KeyName(arn[4], arn[3], key)
