"""GenerateDataKey, GenerateDataKeyWithoutPlaintext and GenerateRandom."""

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, shapes, uses
from proxy.kms.operation import operation
from proxy.kms.operations import cryptographic
from proxy.kms.operations.cryptographic import Sealed
from proxy.kms.service import NO_CONTEXT, KeyService

_BYTES = {"AES_256": 32, "AES_128": 16}


def _size(request: Values) -> int:
    """The length of the data key in bytes."""
    if ("KeySpec" in request) is ("NumberOfBytes" in request):
        raise errors.validation("Please specify either number of bytes or key spec.")
    size: int = request["NumberOfBytes"] if "NumberOfBytes" in request else _BYTES[request["KeySpec"]]
    return size


async def _generate(service: KeyService, origin: CallOrigin, name: str, request: Values) -> tuple[bytes, Sealed]:
    plaintext = service.random(_size(request))
    sealed = await cryptographic.encrypt(
        service,
        origin,
        name,
        request["KeyId"],
        plaintext,
        request.get("EncryptionContext", NO_CONTEXT),
        grant_tokens=request.get("GrantTokens", ()),
    )
    return plaintext, sealed


@operation(
    "GenerateDataKey",
    shapes.request(
        "KeyId",
        KeyId=shapes.KEY_ID,
        EncryptionContext=shapes.CONTEXT,
        NumberOfBytes=shapes.NUMBER_OF_BYTES,
        KeySpec=shapes.DATA_KEY_SPEC,
        GrantTokens=shapes.GRANT_TOKENS,
        Recipient=shapes.RECIPIENT,
        DryRun=shapes.BOOLEAN,
    ),
)
async def generate_data_key(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKey.html"""
    uses.refuse_recipient(request)
    plaintext, sealed = await _generate(service, origin, "GenerateDataKey", request)
    return {
        "CiphertextBlob": sealed.blob,
        "Plaintext": plaintext,
        "KeyId": sealed.key.arn,
        "KeyMaterialId": sealed.material_id,
    }


@operation(
    "GenerateDataKeyWithoutPlaintext",
    shapes.request(
        "KeyId",
        KeyId=shapes.KEY_ID,
        EncryptionContext=shapes.CONTEXT,
        NumberOfBytes=shapes.NUMBER_OF_BYTES,
        KeySpec=shapes.DATA_KEY_SPEC,
        GrantTokens=shapes.GRANT_TOKENS,
        DryRun=shapes.BOOLEAN,
    ),
)
async def generate_data_key_without_plaintext(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKeyWithoutPlaintext.html"""
    _, sealed = await _generate(service, origin, "GenerateDataKeyWithoutPlaintext", request)
    return {"CiphertextBlob": sealed.blob, "KeyId": sealed.key.arn, "KeyMaterialId": sealed.material_id}


@operation(
    "GenerateRandom",
    shapes.request(
        NumberOfBytes=shapes.NUMBER_OF_BYTES,
        CustomKeyStoreId=shapes.CUSTOM_KEY_STORE_ID,
        Recipient=shapes.RECIPIENT,
    ),
)
async def generate_random(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateRandom.html"""
    uses.refuse_recipient(request)
    service.authorize_account(origin, "GenerateRandom")
    if "CustomKeyStoreId" in request:
        raise errors.custom_key_store_not_found(request["CustomKeyStoreId"])
    if "NumberOfBytes" not in request:
        raise errors.validation("NumberOfBytes is required.")
    return {"Plaintext": service.random(request["NumberOfBytes"])}
