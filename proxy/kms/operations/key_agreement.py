"""DeriveSharedSecret."""

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, key_pairs, shapes, uses
from proxy.kms.key_specs import KEY_AGREEMENT
from proxy.kms.operation import operation
from proxy.kms.service import KeyService


@operation(
    "DeriveSharedSecret",
    shapes.request(
        "KeyId",
        "KeyAgreementAlgorithm",
        "PublicKey",
        KeyId=shapes.KEY_ID,
        KeyAgreementAlgorithm=shapes.KEY_AGREEMENT_ALGORITHM,
        PublicKey=shapes.PUBLIC_KEY,
        GrantTokens=shapes.GRANT_TOKENS,
        DryRun=shapes.BOOLEAN,
        Recipient=shapes.RECIPIENT,
    ),
)
async def derive_shared_secret(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_DeriveSharedSecret.html"""
    uses.refuse_recipient(request)
    algorithm, peer = request["KeyAgreementAlgorithm"], request["PublicKey"]
    key = await uses.key_for(
        service,
        origin,
        "DeriveSharedSecret",
        request["KeyId"],
        KEY_AGREEMENT,
        algorithm,
        grant_tokens=request.get("GrantTokens", ()),
    )
    private = await uses.private_key(service, key)
    try:
        secret = await service.threads.run(lambda: key_pairs.derive(private, peer))
    except ValueError:
        raise errors.validation(
            f"The public key must be a DER-encoded X.509 public key for key spec {key.spec}."
        ) from None
    service.note_usage(origin, key, "DeriveSharedSecret")
    return {
        "KeyId": key.arn,
        "SharedSecret": secret,
        "KeyAgreementAlgorithm": algorithm,
        "KeyOrigin": key.origin,
    }
