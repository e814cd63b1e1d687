"""HMAC KMS keys: GenerateMac and VerifyMac."""

import hmac
from typing import Final

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import shapes, uses
from proxy.kms.errors import KmsError
from proxy.kms.key_specs import GENERATE_VERIFY_MAC
from proxy.kms.model import KmsKey
from proxy.kms.operation import operation
from proxy.kms.service import KeyService

_HASHES: Final = {
    "HMAC_SHA_224": "sha224",
    "HMAC_SHA_256": "sha256",
    "HMAC_SHA_384": "sha384",
    "HMAC_SHA_512": "sha512",
}


async def _mac(service: KeyService, origin: CallOrigin, operation_name: str, request: Values) -> tuple[KmsKey, bytes]:
    """The key, and its HMAC (RFC 2104) of the message."""
    algorithm = request["MacAlgorithm"]
    key = await uses.key_for(
        service,
        origin,
        operation_name,
        request["KeyId"],
        GENERATE_VERIFY_MAC,
        algorithm,
        grant_tokens=request.get("GrantTokens", ()),
    )
    material = await service.ring.loaded(key.name, key.current, bytes)
    return key, hmac.digest(material, request["Message"], _HASHES[algorithm])


@operation(
    "GenerateMac",
    shapes.request(
        "Message",
        "KeyId",
        "MacAlgorithm",
        Message=shapes.PLAINTEXT,
        KeyId=shapes.KEY_ID,
        MacAlgorithm=shapes.MAC_ALGORITHM,
        GrantTokens=shapes.GRANT_TOKENS,
        DryRun=shapes.BOOLEAN,
    ),
)
async def generate_mac(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateMac.html"""
    key, mac = await _mac(service, origin, "GenerateMac", request)
    service.note_usage(origin, key, "GenerateMac")
    return {"Mac": mac, "MacAlgorithm": request["MacAlgorithm"], "KeyId": key.arn}


@operation(
    "VerifyMac",
    shapes.request(
        "Message",
        "KeyId",
        "MacAlgorithm",
        "Mac",
        Message=shapes.PLAINTEXT,
        KeyId=shapes.KEY_ID,
        MacAlgorithm=shapes.MAC_ALGORITHM,
        Mac=shapes.CIPHERTEXT,
        GrantTokens=shapes.GRANT_TOKENS,
        DryRun=shapes.BOOLEAN,
    ),
)
async def verify_mac(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_VerifyMac.html"""
    key, mac = await _mac(service, origin, "VerifyMac", request)
    if not hmac.compare_digest(mac, request["Mac"]):
        raise KmsError("KMSInvalidMacException")
    service.note_usage(origin, key, "VerifyMac")
    return {"KeyId": key.arn, "MacValid": True, "MacAlgorithm": request["MacAlgorithm"]}
