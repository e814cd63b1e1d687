"""GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext."""

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, key_pairs, key_specs, shapes, uses
from proxy.kms.model import ENCRYPT_DECRYPT, SYMMETRIC_DEFAULT
from proxy.kms.operation import operation
from proxy.kms.operations import cryptographic
from proxy.kms.service import NO_CONTEXT, KeyService


async def _generate(
    service: KeyService, origin: CallOrigin, operation_name: str, request: Values
) -> tuple[bytes, Values]:
    """The private key in the clear, and the answer without it."""
    spec = request["KeyPairSpec"]
    if spec not in key_specs.DATA_KEY_PAIR_SPECS:
        raise errors.unsupported(f"KeyPairSpec {spec} is not supported in this Region.")
    context = request.get("EncryptionContext", NO_CONTEXT)
    key = await uses.key_for(
        service,
        origin,
        operation_name,
        request["KeyId"],
        ENCRYPT_DECRYPT,
        SYMMETRIC_DEFAULT,
        context=context,
        grant_tokens=request.get("GrantTokens", ()),
    )
    pair = await service.threads.run(lambda: key_pairs.generate(spec))
    plaintext = key_pairs.private_bytes(pair)
    sealed = await cryptographic.seal(service, key, plaintext, context)
    service.note_usage(origin, key, operation_name)
    return plaintext, {
        "PrivateKeyCiphertextBlob": sealed.blob,
        "PublicKey": key_pairs.public_bytes(pair),
        "KeyId": key.arn,
        "KeyPairSpec": spec,
        "KeyMaterialId": sealed.material_id,
    }


@operation(
    "GenerateDataKeyPair",
    shapes.request(
        "KeyId",
        "KeyPairSpec",
        EncryptionContext=shapes.CONTEXT,
        KeyId=shapes.KEY_ID,
        KeyPairSpec=shapes.DATA_KEY_PAIR_SPEC,
        GrantTokens=shapes.GRANT_TOKENS,
        Recipient=shapes.RECIPIENT,
        DryRun=shapes.BOOLEAN,
    ),
)
async def generate_data_key_pair(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKeyPair.html"""
    uses.refuse_recipient(request)
    plaintext, answer = await _generate(service, origin, "GenerateDataKeyPair", request)
    return answer | {"PrivateKeyPlaintext": plaintext}


@operation(
    "GenerateDataKeyPairWithoutPlaintext",
    shapes.request(
        "KeyId",
        "KeyPairSpec",
        EncryptionContext=shapes.CONTEXT,
        KeyId=shapes.KEY_ID,
        KeyPairSpec=shapes.DATA_KEY_PAIR_SPEC,
        GrantTokens=shapes.GRANT_TOKENS,
        DryRun=shapes.BOOLEAN,
    ),
)
async def generate_data_key_pair_without_plaintext(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKeyPairWithoutPlaintext.html"""
    _, answer = await _generate(service, origin, "GenerateDataKeyPairWithoutPlaintext", request)
    return answer
