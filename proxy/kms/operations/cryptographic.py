"""Encrypt and Decrypt, as functions for this process and as operations."""

from collections.abc import Mapping, Sequence
from dataclasses import field

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import blob, errors, key_pairs, shapes, states, uses
from proxy.kms.blob import Blob
from proxy.kms.errors import KmsError
from proxy.kms.model import ENCRYPT_DECRYPT, KEY, SYMMETRIC_DEFAULT, KeyName, KmsKey
from proxy.kms.operation import operation
from proxy.kms.service import NO_CONTEXT, KeyService
from proxy.values import value_class


@value_class
class Sealed:
    """A ciphertext and what it was made under."""

    key: KmsKey
    blob: bytes
    material_id: str | None
    """None for an asymmetric key, whose ciphertext does not tell."""


@value_class
class Opened:
    """What a ciphertext held, and what it was made under."""

    key: KmsKey
    plaintext: bytes = field(repr=False)
    material_id: str | None


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
    action: str | None = None,
) -> Sealed:
    """Encrypt, and the wrapping half of GenerateDataKey and ReEncrypt.

    Raises:
        KmsError: the key is not found, not allowed, in the wrong state or of the wrong usage.
    """
    key = await uses.key_for(
        service,
        origin,
        operation_name,
        key_id,
        ENCRYPT_DECRYPT,
        algorithm,
        context=context,
        grant_tokens=grant_tokens,
        action=action,
    )
    if algorithm == SYMMETRIC_DEFAULT:
        sealed = await seal(service, key, plaintext, context)
    else:
        sealed = await _seal_asymmetric(service, key, algorithm, plaintext, context)
    service.note_usage(origin, key, operation_name)
    return sealed


async def _seal_asymmetric(
    service: KeyService, key: KmsKey, algorithm: str, plaintext: bytes, context: Mapping[str, str]
) -> Sealed:
    _refuse_context(context)
    most = key_pairs.largest_plaintext(key.spec, algorithm)
    if len(plaintext) > most:
        raise errors.validation(
            f"Algorithm {algorithm} and key spec {key.spec} cannot encrypt data larger than {most} bytes."
        )
    ciphertext = await service.threads.run(lambda: key_pairs.encrypt(key.public_key, algorithm, plaintext))
    return Sealed(key, ciphertext, None)


def _refuse_context(context: Mapping[str, str]) -> None:
    if context:
        raise errors.validation("EncryptionContext is not supported when encrypting/decrypting with asymmetric CMKs.")


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
    action: str = "Decrypt",
) -> Opened:
    """Decrypt, and the unwrapping half of ReEncrypt. The key is the one that the blob names; ``key_id``, where it is
    given, has to name the same. What was encrypted under an asymmetric key names none, so ``key_id`` must.

    Raises:
        KmsError: InvalidCiphertextException, IncorrectKeyException, AccessDeniedException, or the key is in the
            wrong state.
    """
    if algorithm != SYMMETRIC_DEFAULT:
        return await _decrypt_asymmetric(
            service, origin, operation_name, ciphertext, context, key_id, grant_tokens, algorithm, action
        )
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
    uses.check_use(key, operation_name, ENCRYPT_DECRYPT, algorithm)
    opened = await open_under(service, key, parsed, context)
    service.note_usage(origin, key, operation_name)
    return opened


async def _decrypt_asymmetric(
    service: KeyService,
    origin: CallOrigin,
    operation_name: str,
    ciphertext: bytes,
    context: Mapping[str, str],
    key_id: str | None,
    grant_tokens: Sequence[str],
    algorithm: str,
    action: str,
) -> Opened:
    key = await uses.key_for(
        service,
        origin,
        operation_name,
        required_key_id(key_id),
        ENCRYPT_DECRYPT,
        algorithm,
        context=context,
        grant_tokens=grant_tokens,
        action=action,
    )
    _refuse_context(context)
    private = await uses.private_key(service, key)
    plaintext = await service.threads.run(lambda: key_pairs.decrypt(private, algorithm, ciphertext))
    service.note_usage(origin, key, operation_name)
    return Opened(key, plaintext, None)


def required_key_id(key_id: str | None) -> str:
    if key_id is None:
        raise errors.validation("KeyId must not be null")
    return key_id


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
    algorithm = request.get("EncryptionAlgorithm", SYMMETRIC_DEFAULT)
    sealed = await encrypt(
        service,
        origin,
        "Encrypt",
        request["KeyId"],
        request["Plaintext"],
        request.get("EncryptionContext", NO_CONTEXT),
        grant_tokens=request.get("GrantTokens", ()),
        algorithm=algorithm,
    )
    return {"CiphertextBlob": sealed.blob, "KeyId": sealed.key.arn, "EncryptionAlgorithm": algorithm}


def ignores_ciphertext(request: Values) -> bool:
    """Whether a dry run is to check no ciphertext, only the rights on the key named. It is the one modifier."""
    if not request.get("DryRunModifiers"):
        return False
    if not request.get("DryRun"):
        raise errors.validation("DryRunModifiers can only be specified when DryRun is true.")
    return True


def ciphertext_of(request: Values) -> bytes:
    """CiphertextBlob, which may be left out of a dry run with IGNORE_CIPHERTEXT only."""
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
    uses.refuse_recipient(request)
    algorithm = request.get("EncryptionAlgorithm", SYMMETRIC_DEFAULT)
    context, tokens = request.get("EncryptionContext", NO_CONTEXT), request.get("GrantTokens", ())
    if ignores_ciphertext(request):
        key_id = required_key_id(request.get("KeyId"))
        await uses.key_for(
            service, origin, "Decrypt", key_id, ENCRYPT_DECRYPT, algorithm, context=context, grant_tokens=tokens
        )
        return {}
    opened = await decrypt(
        service,
        origin,
        "Decrypt",
        ciphertext_of(request),
        context,
        key_id=request.get("KeyId"),
        grant_tokens=tokens,
        algorithm=algorithm,
    )
    answer: Values = {"KeyId": opened.key.arn, "Plaintext": opened.plaintext, "EncryptionAlgorithm": algorithm}
    return answer | material_member("KeyMaterialId", opened.material_id)


def material_member(member: str, material_id: str | None) -> Values:
    return {} if material_id is None else {member: material_id}
