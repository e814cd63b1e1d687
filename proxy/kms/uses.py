"""What a KMS key may be used for: keys found and checked for one cryptographic operation."""

from collections.abc import Mapping, Sequence

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, key_pairs, key_specs
from proxy.kms.key_pairs import PrivateKey
from proxy.kms.model import KmsKey
from proxy.kms.service import NO_CONTEXT, KeyService


def check_use(key: KmsKey, operation: str, usage: str, algorithm: str) -> None:
    """Refuses a key of another usage, and an algorithm that is not one of the key's.

    Raises:
        KmsError: InvalidKeyUsageException.
    """
    if key.usage != usage:
        raise errors.invalid_key_usage(key.arn, key.usage, operation)
    if algorithm not in key_specs.algorithms(key.spec, usage):
        raise errors.incompatible_algorithm(algorithm, key.spec)


async def key_for(
    service: KeyService,
    origin: CallOrigin,
    operation: str,
    key_id: str,
    usage: str,
    algorithm: str,
    *,
    context: Mapping[str, str] = NO_CONTEXT,
    grant_tokens: Sequence[str] = (),
    action: str | None = None,
) -> KmsKey:
    """The key named, authorized, in a state that allows the operation, of the usage that it needs.

    Raises:
        KmsError: as ``KeyService.usable_key`` and ``check_use``.
    """
    key = await service.usable_key(operation, origin, key_id, context=context, grant_tokens=grant_tokens, action=action)
    check_use(key, operation, usage, algorithm)
    return key


async def private_key(service: KeyService, key: KmsKey) -> PrivateKey:
    """The private key behind an asymmetric KMS key, which has only ever one."""
    return await service.ring.loaded(key.name, key.current, key_pairs.load_private(key.spec))


def refuse_recipient(request: Values) -> None:
    """Answers for Nitro enclaves need attestation documents that only AWS can verify."""
    if "Recipient" in request:
        raise errors.unsupported("The Recipient parameter is not supported.")
