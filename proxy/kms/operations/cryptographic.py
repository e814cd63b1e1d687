"""Encrypt, Decrypt and ReEncrypt, as functions for this process and as operations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import blob, errors, shapes, states
from proxy.kms.blob import Blob
from proxy.kms.errors import KmsError
from proxy.kms.model import ENCRYPT_DECRYPT, KEY, SYMMETRIC_DEFAULT, KeyName, KmsKey
from proxy.kms.operation import operation
from proxy.kms.service import NO_CONTEXT, KeyService


@dataclass(frozen=True)
class Sealed:
    """A ciphertext blob and what it was made under."""

    key: KmsKey
    blob: bytes
    material_id: str


@dataclass(frozen=True)
class Opened:
    """What a ciphertext blob held, and what it was made under."""

    key: KmsKey
    plaintext: bytes = field(repr=False)
    material_id: str


async def seal(service: KeyService, key: KmsKey, plaintext: bytes, context: Mapping[str, str]) -> Sealed:
    """Encrypts under a key's current material. Whoever calls has authorized it and checked the key's state."""
    backing = key.current_backing_key
    if backing is None:
        raise LookupError(f"{key.arn} has no current material")
    cipher = await service.ring.cipher(key.name, key.current)
    nonce = service.random(blob.NONCE_SIZE)
    return Sealed(key, blob.seal(cipher, key.blob_key, nonce, plaintext, context), backing.material_id)


async def open_under(service: KeyService, key: KmsKey, parsed: Blob, context: Mapping[str, str]) -> Opened:
    """Decrypts a blob of this key. Whoever calls has authorized it and checked the key's state.

    Raises KmsError (InvalidCiphertextException)."""
    backing = key.backing_key(parsed.key.ordinal)
    if backing is None or not states.is_present(backing, service.now()):
        raise errors.invalid_ciphertext()
    cipher = await service.ring.cipher(key.name, backing.ordinal)
    return Opened(key, blob.open_blob(cipher, parsed, context), backing.material_id)


def _check_use(key: KmsKey, operation_name: str, algorithm: str) -> None:
    if key.usage != ENCRYPT_DECRYPT:
        raise errors.invalid_key_usage(key.arn, key.usage, operation_name)
    if key.spec == SYMMETRIC_DEFAULT and algorithm != SYMMETRIC_DEFAULT:
        raise KmsError(
            "InvalidKeyUsageException", f"Algorithm {algorithm} is not valid for key spec {key.spec} of {key.arn}."
        )


async def encrypt(
    service: KeyService,
    origin: CallOrigin,
    operation_name: str,
    key_id: str,
    plaintext: bytes,
    context: Mapping[str, str] = NO_CONTEXT,
    *,
    grant_tokens: Sequence[str] = (),
    algorithm: str = SYMMETRIC_DEFAULT,
    dry_run: bool = False,
    action: str | None = None,
) -> Sealed:
    """Encrypt, and the wrapping half of GenerateDataKey and ReEncrypt.

    Raises:
        KmsError: the key is not found, not allowed, in the wrong state or of the wrong usage.
    """
    key = await service.usable_key(
        operation_name, origin, key_id, context=context, grant_tokens=grant_tokens, action=action
    )
    _check_use(key, operation_name, algorithm)
    if dry_run:
        raise errors.dry_run()
    return await seal(service, key, plaintext, context)


async def decrypt(
    service: KeyService,
    origin: CallOrigin,
    operation_name: str,
    ciphertext: bytes,
    context: Mapping[str, str] = NO_CONTEXT,
    *,
    key_id: str | None = None,
    grant_tokens: Sequence[str] = (),
    algorithm: str = SYMMETRIC_DEFAULT,
    dry_run: bool = False,
    action: str = "Decrypt",
) -> Opened:
    """Decrypt, and the unwrapping half of ReEncrypt. The key is the one that the blob names; ``key_id``, where it is
    given, has to name the same.

    Raises:
        KmsError: InvalidCiphertextException, IncorrectKeyException, AccessDeniedException, or the key is in the
            wrong state.
    """
    parsed = blob.parse(ciphertext)
    key = await _blob_key(service, origin, parsed)
    if grant_tokens:
        service.check_grant_tokens(grant_tokens)
    if key_id is not None and key_id != key.arn:
        named = await service.find_key(operation_name, origin, key_id)
        if named.name != key.name:
            raise errors.incorrect_key()
    await _authorize_blob(service, origin, key, action, context)
    states.check_state(operation_name, key, service.now())
    _check_use(key, operation_name, algorithm)
    if dry_run:
        raise errors.dry_run()
    return await open_under(service, key, parsed, context)


async def _blob_key(service: KeyService, origin: CallOrigin, parsed: Blob) -> KmsKey:
    """The key that a blob names, in the call's Region. A blob of the service's own keys names none that a caller may
    know of."""
    key = None
    if parsed.key.kind != blob.SERVICE_OWNED:
        key = await service.key(KeyName(parsed.key.account, origin.region, parsed.key.key_id, KEY))
    if key is None:
        raise errors.foreign_ciphertext()
    return key


async def _authorize_blob(
    service: KeyService, origin: CallOrigin, key: KmsKey, action: str, context: Mapping[str, str]
) -> None:
    try:
        await service.authorize(origin, key, action, context=context)
    except KmsError:
        if key.name.account != origin.caller.account:
            raise errors.foreign_ciphertext() from None
        raise


@operation(
    "Encrypt",
    shapes.request(
        "KeyId",
        "Plaintext",
        KeyId=shapes.KEY_ID,
        Plaintext=shapes.PLAINTEXT,
        EncryptionContext=shapes.CONTEXT,
        GrantTokens=shapes.GRANT_TOKENS,
        EncryptionAlgorithm=shapes.ENCRYPTION_ALGORITHM,
        DryRun=shapes.BOOLEAN,
    ),
)
async def encrypt_operation(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html"""
    sealed = await encrypt(
        service,
        origin,
        "Encrypt",
        request["KeyId"],
        request["Plaintext"],
        request.get("EncryptionContext", NO_CONTEXT),
        grant_tokens=request.get("GrantTokens", ()),
        algorithm=request.get("EncryptionAlgorithm", SYMMETRIC_DEFAULT),
        dry_run=request.get("DryRun", False),
    )
    return {"CiphertextBlob": sealed.blob, "KeyId": sealed.key.arn, "EncryptionAlgorithm": SYMMETRIC_DEFAULT}


def refuse_recipient(request: Values) -> None:
    """Answers for Nitro enclaves need attestation documents that only AWS can verify."""
    if "Recipient" in request:
        raise errors.unsupported("The Recipient parameter is not supported.")


def _ciphertext(request: Values) -> bytes:
    """CiphertextBlob, which may be left out of a dry run with IGNORE_CIPHERTEXT only."""
    if request.get("DryRunModifiers"):
        raise errors.unsupported("The DryRunModifiers parameter is not supported.")
    if "CiphertextBlob" not in request:
        raise errors.validation(
            "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: "
            "Member must not be null"
        )
    blob_bytes: bytes = request["CiphertextBlob"]
    return blob_bytes


@operation(
    "Decrypt",
    shapes.request(
        CiphertextBlob=shapes.CIPHERTEXT,
        EncryptionContext=shapes.CONTEXT,
        GrantTokens=shapes.GRANT_TOKENS,
        KeyId=shapes.KEY_ID,
        EncryptionAlgorithm=shapes.ENCRYPTION_ALGORITHM,
        Recipient=shapes.RECIPIENT,
        DryRun=shapes.BOOLEAN,
        DryRunModifiers=shapes.DRY_RUN_MODIFIERS,
    ),
)
async def decrypt_operation(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html"""
    refuse_recipient(request)
    opened = await decrypt(
        service,
        origin,
        "Decrypt",
        _ciphertext(request),
        request.get("EncryptionContext", NO_CONTEXT),
        key_id=request.get("KeyId"),
        grant_tokens=request.get("GrantTokens", ()),
        algorithm=request.get("EncryptionAlgorithm", SYMMETRIC_DEFAULT),
        dry_run=request.get("DryRun", False),
    )
    return {
        "KeyId": opened.key.arn,
        "Plaintext": opened.plaintext,
        "EncryptionAlgorithm": SYMMETRIC_DEFAULT,
        "KeyMaterialId": opened.material_id,
    }


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
    dry_run: bool = False,
) -> tuple[Opened, Sealed]:
    """Decrypts and encrypts anew; the plaintext does not leave the service.

    Raises:
        KmsError: as ``decrypt`` for the source, as ``encrypt`` for the destination.
    """
    opened = await decrypt(
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
    sealed = await encrypt(
        service,
        origin,
        "ReEncrypt",
        destination_key_id,
        opened.plaintext,
        destination_context,
        grant_tokens=grant_tokens,
        algorithm=destination_algorithm,
        dry_run=dry_run,
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
    opened, sealed = await re_encrypt(
        service,
        origin,
        _ciphertext(request),
        request.get("SourceEncryptionContext", NO_CONTEXT),
        request["DestinationKeyId"],
        request.get("DestinationEncryptionContext", NO_CONTEXT),
        source_key_id=request.get("SourceKeyId"),
        source_algorithm=request.get("SourceEncryptionAlgorithm", SYMMETRIC_DEFAULT),
        destination_algorithm=request.get("DestinationEncryptionAlgorithm", SYMMETRIC_DEFAULT),
        grant_tokens=request.get("GrantTokens", ()),
        dry_run=request.get("DryRun", False),
    )
    return {
        "CiphertextBlob": sealed.blob,
        "SourceKeyId": opened.key.arn,
        "KeyId": sealed.key.arn,
        "SourceEncryptionAlgorithm": SYMMETRIC_DEFAULT,
        "DestinationEncryptionAlgorithm": SYMMETRIC_DEFAULT,
        "SourceKeyMaterialId": opened.material_id,
        "DestinationKeyMaterialId": sealed.material_id,
    }
