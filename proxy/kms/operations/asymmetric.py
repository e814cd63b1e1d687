"""Asymmetric KMS keys: GetPublicKey, Sign and Verify."""

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, key_specs, shapes, signatures, uses
from proxy.kms.errors import KmsError
from proxy.kms.key_specs import ALGORITHM_MEMBERS, SIGN_VERIFY
from proxy.kms.model import KmsKey
from proxy.kms.operation import operation
from proxy.kms.service import KeyService


@operation("GetPublicKey", shapes.request("KeyId", KeyId=shapes.KEY_ID, GrantTokens=shapes.GRANT_TOKENS))
async def get_public_key(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GetPublicKey.html

    The public key stays when imported material was deleted or has expired."""
    tokens = request.get("GrantTokens", ())
    key = await service.usable_key("GetPublicKey", origin, request["KeyId"], grant_tokens=tokens)
    if not key_specs.is_asymmetric(key.spec):
        raise errors.unsupported_spec(key.arn, key.spec)
    if not key.public_key:
        raise errors.invalid_state(f"{key.arn} is pending import.")
    return {
        "KeyId": key.arn,
        "PublicKey": key.public_key,
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        "KeyUsage": key.usage,
        ALGORITHM_MEMBERS[key.usage]: list(key_specs.algorithms(key.spec, key.usage)),
    }


async def _signing_key(service: KeyService, origin: CallOrigin, operation_name: str, request: Values) -> KmsKey:
    key = await uses.key_for(
        service,
        origin,
        operation_name,
        request["KeyId"],
        SIGN_VERIFY,
        request["SigningAlgorithm"],
        grant_tokens=request.get("GrantTokens", ()),
    )
    signatures.check_message(key.spec, request["SigningAlgorithm"], _message_type(request), request["Message"])
    return key


def _message_type(request: Values) -> str:
    message_type: str = request.get("MessageType", signatures.RAW)
    return message_type


@operation(
    "Sign",
    shapes.request(
        "KeyId",
        "Message",
        "SigningAlgorithm",
        KeyId=shapes.KEY_ID,
        Message=shapes.PLAINTEXT,
        MessageType=shapes.MESSAGE_TYPE,
        GrantTokens=shapes.GRANT_TOKENS,
        SigningAlgorithm=shapes.SIGNING_ALGORITHM,
        DryRun=shapes.BOOLEAN,
    ),
)
async def sign(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html"""
    key = await _signing_key(service, origin, "Sign", request)
    algorithm, message_type, message = request["SigningAlgorithm"], _message_type(request), request["Message"]
    private = await uses.private_key(service, key)
    signature = await service.threads.run(lambda: signatures.sign(private, algorithm, message_type, message))
    service.note_usage(origin, key, "Sign")
    return {"KeyId": key.arn, "Signature": signature, "SigningAlgorithm": algorithm}


@operation(
    "Verify",
    shapes.request(
        "KeyId",
        "Message",
        "Signature",
        "SigningAlgorithm",
        KeyId=shapes.KEY_ID,
        Message=shapes.PLAINTEXT,
        MessageType=shapes.MESSAGE_TYPE,
        Signature=shapes.CIPHERTEXT,
        SigningAlgorithm=shapes.SIGNING_ALGORITHM,
        GrantTokens=shapes.GRANT_TOKENS,
        DryRun=shapes.BOOLEAN,
    ),
)
async def verify(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_Verify.html"""
    key = await _signing_key(service, origin, "Verify", request)
    algorithm, message_type, message = request["SigningAlgorithm"], _message_type(request), request["Message"]
    signature = request["Signature"]
    valid = await service.threads.run(
        lambda: signatures.is_valid(key.public_key, algorithm, message_type, message, signature)
    )
    if not valid:
        raise KmsError("KMSInvalidSignatureException")
    service.note_usage(origin, key, "Verify")
    return {"KeyId": key.arn, "SignatureValid": True, "SigningAlgorithm": algorithm}
