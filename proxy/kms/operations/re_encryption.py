"""ReEncrypt."""

from collections.abc import Mapping, Sequence

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import shapes, uses
from proxy.kms.model import ENCRYPT_DECRYPT, SYMMETRIC_DEFAULT
from proxy.kms.operation import operation
from proxy.kms.operations import cryptographic
from proxy.kms.operations.cryptographic import Opened, Sealed
from proxy.kms.service import NO_CONTEXT, KeyService


async def re_encrypt(
    service: KeyService,
    origin: CallOrigin,
    ciphertext: bytes,
    source_context: Mapping[str, str],
    destination_key_id: str,
    destination_context: Mapping[str, str],
    *,
    source_key_id: str | None = None,
    source_algorithm: str = SYMMETRIC_DEFAULT,
    destination_algorithm: str = SYMMETRIC_DEFAULT,
    grant_tokens: Sequence[str] = (),
) -> tuple[Opened, Sealed]:
    """Decrypts and encrypts anew; the plaintext does not leave the service.

    Raises:
        KmsError: as ``decrypt`` for the source, as ``encrypt`` for the destination.
    """
    opened = await cryptographic.decrypt(
        service,
        origin,
        "ReEncrypt",
        ciphertext,
        source_context,
        key_id=source_key_id,
        grant_tokens=grant_tokens,
        algorithm=source_algorithm,
        action="ReEncryptFrom",
    )
    sealed = await cryptographic.encrypt(
        service,
        origin,
        "ReEncrypt",
        destination_key_id,
        opened.plaintext,
        destination_context,
        grant_tokens=grant_tokens,
        algorithm=destination_algorithm,
        action="ReEncryptTo",
    )
    return opened, sealed


@operation(
    "ReEncrypt",
    shapes.request(
        "DestinationKeyId",
        CiphertextBlob=shapes.CIPHERTEXT,
        SourceEncryptionContext=shapes.CONTEXT,
        SourceKeyId=shapes.KEY_ID,
        DestinationKeyId=shapes.KEY_ID,
        DestinationEncryptionContext=shapes.CONTEXT,
        SourceEncryptionAlgorithm=shapes.ENCRYPTION_ALGORITHM,
        DestinationEncryptionAlgorithm=shapes.ENCRYPTION_ALGORITHM,
        GrantTokens=shapes.GRANT_TOKENS,
        DryRun=shapes.BOOLEAN,
        DryRunModifiers=shapes.DRY_RUN_MODIFIERS,
    ),
)
async def re_encrypt_operation(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ReEncrypt.html"""
    source = request.get("SourceEncryptionAlgorithm", SYMMETRIC_DEFAULT)
    destination = request.get("DestinationEncryptionAlgorithm", SYMMETRIC_DEFAULT)
    if cryptographic.ignores_ciphertext(request):
        await _rehearse_re_encrypt(service, origin, request, source, destination)
        return {}
    opened, sealed = await re_encrypt(
        service,
        origin,
        cryptographic.ciphertext_of(request),
        request.get("SourceEncryptionContext", NO_CONTEXT),
        request["DestinationKeyId"],
        request.get("DestinationEncryptionContext", NO_CONTEXT),
        source_key_id=request.get("SourceKeyId"),
        source_algorithm=source,
        destination_algorithm=destination,
        grant_tokens=request.get("GrantTokens", ()),
    )
    answer: Values = {
        "CiphertextBlob": sealed.blob,
        "SourceKeyId": opened.key.arn,
        "KeyId": sealed.key.arn,
        "SourceEncryptionAlgorithm": source,
        "DestinationEncryptionAlgorithm": destination,
    }
    answer |= cryptographic.material_member("SourceKeyMaterialId", opened.material_id)
    return answer | cryptographic.material_member("DestinationKeyMaterialId", sealed.material_id)


async def _rehearse_re_encrypt(
    service: KeyService, origin: CallOrigin, request: Values, source: str, destination: str
) -> None:
    """Checks the rights on both keys, without a ciphertext."""
    sides = (
        (cryptographic.required_key_id(request.get("SourceKeyId")), source, "SourceEncryptionContext", "ReEncryptFrom"),
        (request["DestinationKeyId"], destination, "DestinationEncryptionContext", "ReEncryptTo"),
    )
    for key_id, algorithm, context, action in sides:
        await uses.key_for(
            service,
            origin,
            "ReEncrypt",
            key_id,
            ENCRYPT_DECRYPT,
            algorithm,
            context=request.get(context, NO_CONTEXT),
            grant_tokens=request.get("GrantTokens", ()),
            action=action,
        )
