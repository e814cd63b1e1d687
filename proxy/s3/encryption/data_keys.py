"""Data keys of objects: asked of the key service for a new object, and unwrapped again for an existing one; under SSE-C
drawn here, and wrapped under the customer's key.

The encryption context is S3's own: the object's ARN or, with an S3 Bucket Key, the bucket's, beside the client's pairs.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#encryption-context
"""

from dataclasses import replace

from proxy.aws.credentials import Caller, CallOrigin
from proxy.envelope import keys as envelope_keys
from proxy.envelope import v1
from proxy.envelope.header import WRAPPED_SIZE, Header, Mode
from proxy.envelope.v1 import Wrapping
from proxy.kms.provider import S3_OWNED_KEY
from proxy.s3.encryption import customer_keys
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.encryption.sse import OBJECT_ARN, Choice, full_context, require_signature
from proxy.s3.gateway import Gateway, Target
from proxy.s3.state.ports import BucketRecord
from proxy.xaes import NONCE_SIZE


async def new_data_key(gateway: Gateway, origin: CallOrigin, target: Target, choice: Choice) -> tuple[bytes, Wrapping]:
    """A fresh data key for an object and how it is wrapped. With two layers it is two: the inner one from the KMS key
    that the client chose, the outer one from S3's own, so that neither key opens anything alone.

    Raises:
        AwsError: InvalidArgument: nobody has signed the request, and the key is of KMS.
        KmsError: the key service refuses or fails.
    """
    if choice.customer_key is not None:
        wrapping = Wrapping(choice.mode, customer_key=choice.customer_key.key, object_arn=target.arn)
        return gateway.random(32), wrapping
    require_signature(origin.caller, choice.mode)
    place = Target(target.bucket) if choice.bucket_key else target
    context = full_context(choice.context, place.arn)
    if choice.bucket_key:
        made = await gateway.bucket_keys.generate(gateway.keys, origin, choice.key_id, context)
    else:
        made = await gateway.keys.generate_data_key(origin, choice.key_id, context)
    if choice.mode is Mode.KMS_DSSE:
        outer = await gateway.keys.generate_data_key(origin, S3_OWNED_KEY, context)
        wrapping = Wrapping(choice.mode, made.key_arn, made.wrapped, choice.context, outer_wrapped_key=outer.wrapped)
        return made.plaintext + outer.plaintext, wrapping
    if not choice.bucket_key:
        return made.plaintext, Wrapping(choice.mode, made.key_arn, made.wrapped, choice.context)
    wrapping = Wrapping(
        choice.mode,
        made.key_arn,
        made.wrapped,
        choice.context,
        bucket_key=made.plaintext,
        object_arn=target.arn,
    )
    return gateway.random(32), wrapping


async def new_wrapping(gateway: Gateway, origin: CallOrigin, target: Target, choice: Choice) -> Wrapping:
    """How the data key that an object has already is wrapped anew, for ``target``.

    The key service is asked for a data key, as for a new object, and that wraps the object's: so a copy needs the
    permissions that it needs on AWS, kms:Decrypt on the source's key and kms:GenerateDataKey on the other.

    Raises:
        KmsError: the key service refuses or fails.
    """
    plaintext, wrapping = await new_data_key(gateway, origin, target, choice)
    if wrapping.bucket_key is not None or wrapping.customer_key is not None:
        return wrapping
    return replace(wrapping, wrapping_key=plaintext, object_arn=target.arn)


async def data_key_of(
    gateway: Gateway,
    origin: CallOrigin,
    target: Target,
    header: Header,
    *,
    customer_key: CustomerKey | None = None,
) -> bytes:
    """The data key of an existing object, or of an upload under way; ``customer_key`` is what the request brings.

    Raises:
        AwsError: the customer's key is missing, or another one, or the object is under none; nobody has signed the
            request, and the key is of KMS.
        KmsError: the key service refuses or fails.
        EnvelopeError: the wrap under the S3 Bucket Key or wrapping key is not this object's.
    """
    customer_keys.check_presence(header, customer_key)
    if customer_key is not None:
        return customer_keys.unwrap(header, customer_key, target.arn)
    require_signature(origin.caller, header.mode)
    with_bucket_key = header.bucket_wrapped_key is not None
    place = Target(target.bucket) if with_bucket_key else target
    context = full_context(header.context, place.arn)
    key_id = S3_OWNED_KEY if header.mode is Mode.S3 else header.key_arn
    if with_bucket_key:
        bucket_key = await gateway.bucket_keys.decrypt(gateway.keys, origin, key_id, header.wrapped_key, context)
        return v1.unwrap_with_bucket_key(header, bucket_key, target.arn)
    plaintext = await gateway.keys.decrypt(origin, key_id, header.wrapped_key, context)
    if header.rewrapped_key is not None:
        return v1.unwrap_with_wrapping_key(header, plaintext, target.arn)
    if header.outer_wrapped_key is not None:
        return plaintext + await gateway.keys.decrypt(origin, S3_OWNED_KEY, header.outer_wrapped_key, context)
    return plaintext


async def seal_table_key(
    gateway: Gateway, origin: CallOrigin, target: Target, header: Header, data_key: bytes
) -> bytes:
    """The key of the MAC over the table of parts of an upload under SSE-C, for its completion, which may come without
    the customer's key. It is wrapped under S3's own key, and opens nothing of the object.

    Raises:
        KmsError: the key service fails.
    """
    made = await gateway.keys.generate_data_key(origin, S3_OWNED_KEY, _table_context(target))
    nonce = gateway.random(NONCE_SIZE)
    secret = envelope_keys.table_key(data_key, header.salt)
    return made.wrapped + envelope_keys.wrap(made.plaintext, secret, target.arn, header.object_id, b"", nonce)


async def open_table_key(gateway: Gateway, origin: CallOrigin, target: Target, header: Header, sealed: bytes) -> bytes:
    """What ``seal_table_key`` has sealed.

    Raises:
        KmsError: the key service fails.
        EnvelopeError: it is of another upload, or damaged.
    """
    blob, wrapped = sealed[:-WRAPPED_SIZE], sealed[-WRAPPED_SIZE:]
    key = await gateway.keys.decrypt(origin, S3_OWNED_KEY, blob, _table_context(target))
    return envelope_keys.unwrap(key, wrapped, target.arn, header.object_id, b"")


def _table_context(target: Target) -> dict[str, str]:
    return {OBJECT_ARN: target.arn, "sse-proxy": "table of parts"}


def service_origin(bucket: BucketRecord) -> CallOrigin:
    """S3 itself as the caller, for what it does with the key that it owns."""
    caller = Caller(bucket.account, f"arn:aws:iam::{bucket.account}:root", bucket.account, "")
    return CallOrigin(caller, bucket.region, via_service=f"s3.{bucket.region}.amazonaws.com")
