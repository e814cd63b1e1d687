"""GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext."""

import asyncio
import threading
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from proxy.kms import key_pairs, key_specs
from proxy.kms.key_pairs import PrivateKey
from tests.kms.harness import Kms, KmsFault, user

CONTEXT = {"purpose": "test"}
SPECS = sorted(key_specs.DATA_KEY_PAIR_SPECS)


async def refusal(kms: Kms, operation: str, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, **members)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


def check_kind(private: object, spec: str) -> None:
    if spec.startswith("RSA"):
        assert isinstance(private, rsa.RSAPrivateKey)
        assert (private.key_size, private.public_key().public_numbers().e) == (int(spec[4:]), 65537)
    elif spec == "ECC_NIST_EDWARDS25519":
        assert isinstance(private, ed25519.Ed25519PrivateKey)
    else:
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        names = {"P256": "secp256r1", "P384": "secp384r1", "P521": "secp521r1", "P256K1": "secp256k1"}
        assert private.curve.name == names[spec.rpartition("_")[2]]


@pytest.mark.parametrize("spec", SPECS)
async def test_every_spec(kms: Kms, spec: str) -> None:
    key = (await kms.call("CreateKey"))["KeyMetadata"]
    asked = {"KeyId": key["KeyId"], "KeyPairSpec": spec, "EncryptionContext": CONTEXT}
    made = await kms.call("GenerateDataKeyPair", **asked)
    assert made["KeyId"] == key["Arn"]
    assert made["KeyPairSpec"] == spec
    assert made["KeyMaterialId"] == key["CurrentKeyMaterialId"]
    private = load_der_private_key(made["PrivateKeyPlaintext"], password=None)
    check_kind(private, spec)
    assert load_der_public_key(made["PublicKey"]) == private.public_key()
    opened = await kms.call("Decrypt", CiphertextBlob=made["PrivateKeyCiphertextBlob"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == made["PrivateKeyPlaintext"]
    assert (await refusal(kms, "Decrypt", CiphertextBlob=made["PrivateKeyCiphertextBlob"]))[0] == (
        "InvalidCiphertextException"
    )


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec not in ("RSA_3072", "RSA_4096")])
async def test_without_plaintext(kms: Kms, spec: str) -> None:
    asked = {"KeyId": await kms.key(), "KeyPairSpec": spec}
    made = await kms.call("GenerateDataKeyPairWithoutPlaintext", **asked)
    assert "PrivateKeyPlaintext" not in made
    opened = await kms.call("Decrypt", CiphertextBlob=made["PrivateKeyCiphertextBlob"])
    private = load_der_private_key(opened["Plaintext"], password=None)
    assert load_der_public_key(made["PublicKey"]) == private.public_key()
    again = await kms.call("GenerateDataKeyPairWithoutPlaintext", **asked)
    assert again["PublicKey"] != made["PublicKey"]


@pytest.mark.parametrize("operation", ["GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"])
async def test_what_is_refused(kms: Kms, operation: str) -> None:
    key = await kms.key()
    assert await refusal(kms, operation, KeyId=key, KeyPairSpec="SM2") == (
        "UnsupportedOperationException",
        "KeyPairSpec SM2 is not supported in this Region.",
    )
    rsa_key = await kms.key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    assert await refusal(kms, operation, KeyId=rsa_key, KeyPairSpec="ECC_NIST_P256") == (
        "InvalidKeyUsageException",
        "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.",
    )
    mac_key = await kms.key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    assert (await refusal(kms, operation, KeyId=mac_key, KeyPairSpec="ECC_NIST_P256"))[0] == "InvalidKeyUsageException"
    with pytest.raises(KmsFault, match=f"AccessDeniedException: .* kms:{operation} on resource"):
        await kms.call(operation, user("nobody"), KeyId=key, KeyPairSpec="ECC_NIST_P256")


async def test_answers_for_enclaves_are_refused(kms: Kms) -> None:
    recipient = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"document"}
    asked = {"KeyId": await kms.key(), "KeyPairSpec": "ECC_NIST_P256", "Recipient": recipient}
    assert (await refusal(kms, "GenerateDataKeyPair", **asked))[0] == "UnsupportedOperationException"


async def test_the_event_loop_goes_on_while_a_key_is_made(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that makes or uses a private key runs on the service's own threads."""
    names: list[str] = []
    made = key_pairs.generate("ECC_NIST_P256")
    began = threading.Event()

    def slow(spec: str) -> PrivateKey:
        names.append(threading.current_thread().name)
        began.set()
        time.sleep(0.2)
        return made

    monkeypatch.setattr(key_pairs, "generate", slow)
    key = await kms.key()
    waiting = asyncio.create_task(kms.call("GenerateDataKeyPair", KeyId=key, KeyPairSpec="RSA_4096"))
    await asyncio.to_thread(began.wait)
    # Another call is answered meanwhile.
    assert await kms.state(key) == "Enabled"
    assert not waiting.done()
    assert (await waiting)["PublicKey"] == key_pairs.public_bytes(made)
    assert all(name.startswith("kms") for name in names)
