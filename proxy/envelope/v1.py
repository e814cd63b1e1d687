"""Version 1 of the envelope: sealing, unlocking and opening objects. See FORMAT.md."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import field

from proxy.envelope import keys, layers
from proxy.envelope import record as records
from proxy.envelope.digests import NO_DIGESTS, Digests
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import RECORD_NONCE_SIZE, Header, Layout, Mode, kind_of
from proxy.envelope.keys import Expander
from proxy.envelope.layers import AnyOpener, AnySealer, Place
from proxy.envelope.parts import LARGEST_NUMBER, PartsTable, make_frame
from proxy.envelope.ranges import (
    FIRST_PLAINTEXT,
    FOOTER_THRESHOLD,
    PartsPlan,
    Window,
    footer_window,
    part_footer_window,
    stored_size,
)
from proxy.envelope.record import Record
from proxy.envelope.segments import open_only
from proxy.stream import Buffer
from proxy.values import value_class
from proxy.xaes import NONCE_SIZE

Random = Callable[[int], bytes]
"""Gives so many random bytes, as ``os.urandom`` does."""


@value_class
class Wrapping:
    """How a data key is wrapped."""

    mode: Mode
    key_arn: str = ""
    wrapped_key: bytes = b""
    """The KMS ciphertext blob: of the data key or, with ``bucket_key`` or ``wrapping_key``, of that. Under SSE-C: none.
    """
    context: Mapping[str, str] = field(default_factory=dict)
    """The client's encryption context, without what S3 adds."""
    bucket_key: bytes | None = field(default=None, repr=False)
    """The S3 Bucket Key in the clear (32 bytes), if the data key is to be wrapped under one."""
    object_arn: str = ""
    """Needed with ``bucket_key``, ``wrapping_key`` or ``customer_key`` only: the wrap is bound to it."""
    wrapping_key: bytes | None = field(default=None, repr=False)
    """In place of a bucket key, to wrap an existing data key anew: 32 bytes that serve this object alone."""
    customer_key: bytes | None = field(default=None, repr=False)
    """The customer's key (32 bytes): for SSE-C, and then without ARN, blob, context and other keys."""
    outer_wrapped_key: bytes | None = None
    """For two layers: the ciphertext blob of the outer layer's key; ``wrapped_key`` is then that of the inner one's."""


@value_class
class Unlocked:
    """An object whose data key is at hand and was found to be the right one."""

    header: Header
    data_key: bytes = field(repr=False)
    plaintext_size: int | None
    """None for a multipart object: its table of parts knows."""
    digests: Digests
    """What was known before the body; the rest is in the footer."""
    checksum_algorithm: str | None
    """Of a multipart upload."""
    checksum_type: str | None
    """Of a multipart upload: ``COMPOSITE`` or ``FULL_OBJECT``."""
    expander: Expander = field(repr=False, compare=False)
    """Of the data key and the header's salt."""


def seal_single(
    data_key: bytes,
    wrapping: Wrapping,
    *,
    plaintext_size: int,
    digests: Digests = NO_DIGESTS,
    footer: Callable[[], Digests] | None = None,
    random: Random,
) -> tuple[Header, AnySealer]:
    """Begins a single PUT: the header, and the sealer that turns the plaintext into the body.

    ``footer`` is called when the body has ended, and only if it is longer than 1 MiB; of a shorter body everything
    has to be known beforehand, in ``digests``.

    Raises:
        ValueError: an argument has not its form.
    """
    stored_size(plaintext_size)
    salt = random(keys.SALT_SIZE)
    expander = Expander(data_key, salt)
    header = _new_header(data_key, expander, wrapping, Layout.SINGLE, Record(plaintext_size, digests), salt, random)
    bound = keys.binding(header.object_id, 0, keys.NO_ATTEMPT, plaintext_size)
    place = Place(data_key, salt, bound, plaintext_size, expander)
    return header, layers.sealer(place, (footer or _nothing) if plaintext_size > FOOTER_THRESHOLD else None)


def new_multipart(
    data_key: bytes,
    wrapping: Wrapping,
    *,
    checksum_algorithm: str | None = None,
    checksum_type: str | None = None,
    random: Random,
) -> Header:
    """Begins a multipart upload.

    Raises:
        ValueError: an argument has not its form.
    """
    record = Record(checksum_algorithm=checksum_algorithm, checksum_type=checksum_type)
    salt = random(keys.SALT_SIZE)
    return _new_header(data_key, Expander(data_key, salt), wrapping, Layout.MULTIPART, record, salt, random)


def unwrap_with_bucket_key(header: Header, bucket_key: bytes, object_arn: str) -> bytes:
    """The data key of an object that uses an S3 Bucket Key.

    Raises:
        EnvelopeError: it is not under this bucket key, or not the object with this ARN.
    """
    if header.bucket_wrapped_key is None:
        raise EnvelopeError("the object uses no bucket key")
    return keys.unwrap(
        bucket_key, header.bucket_wrapped_key, object_arn, header.object_id, keys.canonical_context(header.context)
    )


def unwrap_with_wrapping_key(header: Header, wrapping_key: bytes, object_arn: str) -> bytes:
    """The data key of an object that was wrapped anew under a wrapping key.

    Raises:
        EnvelopeError: it is not under this wrapping key, or not the object with this ARN.
    """
    if header.rewrapped_key is None:
        raise EnvelopeError("the object uses no wrapping key")
    return keys.unwrap(
        wrapping_key, header.rewrapped_key, object_arn, header.object_id, keys.canonical_context(header.context)
    )


def unwrap_with_customer_key(header: Header, customer_key: bytes, object_arn: str) -> bytes:
    """The data key of an object under SSE-C.

    Raises:
        EnvelopeError: it is not under this customer's key, or not the object with this ARN.
    """
    if header.mode is not Mode.CUSTOMER:
        raise EnvelopeError("the object is not under a customer's key")
    wrapping_key = keys.customer_wrapping_key(customer_key, header.salt)
    return keys.unwrap(wrapping_key, header.wrapped_key, object_arn, header.object_id, b"")


def unlock(header: Header, data_key: bytes) -> Unlocked:
    """Checks the commitment and opens the record.

    Raises:
        EnvelopeError: the key is not this object's, or the header was tampered with.
    """
    expander, _, content = _open_record(header, data_key)
    record = records.decode(content, header.layout)
    return Unlocked(
        header,
        data_key,
        record.plaintext_size,
        record.digests,
        record.checksum_algorithm,
        record.checksum_type,
        expander,
    )


def rewrap(header: Header, data_key: bytes, wrapping: Wrapping, *, random: Random) -> Header:
    """The header of the same data with its key wrapped anew: for a copy, a rename or another KMS key.

    Raises:
        EnvelopeError: as ``unlock``.
        ValueError: of two layers one can't be made, nor two of one, and two are not wrapped anew.
    """
    if header.layers > 1 or wrapping.outer_wrapped_key is not None:
        raise ValueError("what has two layers is not wrapped anew")
    _, record_key, content = _open_record(header, data_key)
    return _seal_header(data_key, wrapping, header.layout, header.salt, header.commitment, record_key, content, random)


def seal_part(
    unlocked: Unlocked,
    number: int,
    plaintext_size: int,
    *,
    footer: Callable[[], Digests] | None = None,
    random: Random,
) -> AnySealer:
    """The sealer of one attempt at a part; its ``salt`` goes into the table of parts, ``salt[:16]`` is the attempt id.

    Raises:
        ValueError: an argument has not its form, or the object is a single PUT.
    """
    if unlocked.header.layout is not Layout.MULTIPART:
        raise ValueError("a single PUT has no parts")
    if not 1 <= number <= LARGEST_NUMBER:
        raise ValueError("part numbers are from 1 to 10,000")
    stored_size(plaintext_size)
    salt = random(keys.SALT_SIZE)
    place = _place_of_part(unlocked, number, plaintext_size, salt)
    return layers.sealer(place, footer or _nothing, make_frame(number, plaintext_size, salt))


def open_single(unlocked: Unlocked) -> AnyOpener:
    """The opener of a whole body, its footer included. Raises ValueError for a multipart object."""
    return layers.whole_opener(_place_of_single(unlocked))


def open_short(unlocked: Unlocked, stored: Buffer) -> bytes | None:
    """The plaintext of a whole body that is one segment of one layer; None for any other, which ``open_single`` opens.

    Raises:
        EnvelopeError: it is damaged.
    """
    if unlocked.plaintext_size is None or unlocked.plaintext_size > FIRST_PLAINTEXT or unlocked.header.layers > 1:
        return None
    stream, _ = _place_of_single(unlocked).streams(with_footer=False)
    return open_only(stream, stored)


def open_range(unlocked: Unlocked, window: Window) -> AnyOpener:
    """The opener of a range of a single PUT; ``ranges.window`` makes the window, for as many layers.

    The footer is not looked at, even where it lies within the window. Raises ValueError for a multipart object.
    """
    return layers.window_opener(_place_of_single(unlocked), window)


def open_parts(unlocked: Unlocked, table: PartsTable, plan: PartsPlan) -> AnyOpener:
    """The opener of a multipart object or a range of it; ``table`` must come from ``parts.verify``.

    Raises:
        EnvelopeError: the table is another object's.
        ValueError: the table was not verified.
    """
    if not table.verified:
        raise ValueError("the table of parts was not verified")
    if table.object_id != unlocked.header.object_id:
        raise EnvelopeError("the table of parts is another object's")
    return layers.parts_opener(
        lambda part: _place_of_part(unlocked, part.number, part.size, part.salt), table.parts, plan
    )


def open_footer(unlocked: Unlocked, data: Buffer) -> Digests:
    """What the footer of a single PUT says; ``data`` are the stored bytes that ``ranges.footer_range`` names.

    Raises:
        EnvelopeError: it is damaged or another object's.
    """
    place = _place_of_single(unlocked)
    window = footer_window(place.size) if unlocked.header.layers > 1 else None
    return layers.footer_of(place, window, data)


def open_part_footer(unlocked: Unlocked, number: int, size: int, salt: bytes, data: Buffer) -> Digests:
    """What the footer of a part says; ``data`` are the stored bytes that ``ranges.part_footer_range`` names.

    Raises:
        EnvelopeError: it is damaged or another part's.
    """
    place = _place_of_part(unlocked, number, size, salt)
    window = part_footer_window(size) if unlocked.header.layers > 1 else None
    return layers.footer_of(place, window, data)


def _new_header(
    data_key: bytes,
    expander: Expander,
    wrapping: Wrapping,
    layout: Layout,
    record: Record,
    salt: bytes,
    random: Random,
) -> Header:
    commitment, record_key = expander.head_keys()
    return _seal_header(data_key, wrapping, layout, salt, commitment, record_key, records.encode(record), random)


def _seal_header(
    data_key: bytes,
    wrapping: Wrapping,
    layout: Layout,
    salt: bytes,
    commitment: bytes,
    record_key: bytes,
    content: bytes,
    random: Random,
) -> Header:
    """Wraps the data key and seals the record's content."""
    context = keys.canonical_context(wrapping.context)
    blob, bucket_wrapped, rewrapped = _wrap(data_key, wrapping, salt, context, random)
    outer = wrapping.outer_wrapped_key
    if len(data_key) != keys.DATA_KEY_SIZE * (1 if outer is None else 2):
        raise ValueError("a data key has 32 bytes, or with two layers 64")
    kind = kind_of(
        wrapping.mode,
        layout,
        bucket_key=bucket_wrapped is not None,
        rewrapped=rewrapped is not None,
        two_layers=outer is not None,
    )
    bound = records.binding(kind, salt, wrapping.key_arn, context)
    return Header(
        mode=wrapping.mode,
        layout=layout,
        key_arn=wrapping.key_arn,
        wrapped_key=blob,
        bucket_wrapped_key=bucket_wrapped,
        salt=salt,
        commitment=commitment,
        record=records.seal(record_key, random(RECORD_NONCE_SIZE), content, bound),
        context=wrapping.context,
        rewrapped_key=rewrapped,
        outer_wrapped_key=outer,
    )


def _wrap(
    data_key: bytes, wrapping: Wrapping, salt: bytes, context: bytes, random: Random
) -> tuple[bytes, bytes | None, bytes | None]:
    """What stands where the KMS blob does, and the data key under a bucket key or under a wrapping key."""
    if (wrapping.customer_key is not None) != (wrapping.mode is Mode.CUSTOMER):
        raise ValueError("a customer's key goes with SSE-C, and SSE-C with that")
    if wrapping.customer_key is not None:
        outer: bytes | None = keys.customer_wrapping_key(wrapping.customer_key, salt)
    else:
        outer = wrapping.wrapping_key if wrapping.bucket_key is None else wrapping.bucket_key
    if outer is None:
        return wrapping.wrapped_key, None, None
    object_id = salt[: keys.ID_SIZE]
    wrapped = keys.wrap(outer, data_key, wrapping.object_arn, object_id, context, random(NONCE_SIZE))
    if wrapping.customer_key is not None:
        return wrapped, None, None
    if wrapping.bucket_key is not None:
        return wrapping.wrapped_key, wrapped, None
    return wrapping.wrapped_key, None, wrapped


def _open_record(header: Header, data_key: bytes) -> tuple[Expander, bytes, bytes]:
    """The keys that follow from the data key, the record's and its content, after the commitment was found right."""
    if len(data_key) != keys.DATA_KEY_SIZE * header.layers:
        raise EnvelopeError("the data key has not its size")
    expander = Expander(data_key, header.salt)
    commitment, record_key = expander.head_keys()
    if not hmac.compare_digest(commitment, header.commitment):
        raise EnvelopeError("the data key is not this object's")
    kind = kind_of(
        header.mode,
        header.layout,
        bucket_key=header.bucket_wrapped_key is not None,
        rewrapped=header.rewrapped_key is not None,
        two_layers=header.layers > 1,
    )
    bound = records.binding(kind, header.salt, header.key_arn, keys.canonical_context(header.context))
    return expander, record_key, records.open_(record_key, header.record, bound)


def _place_of_single(unlocked: Unlocked) -> Place:
    if unlocked.plaintext_size is None:
        raise ValueError("a multipart object is opened by its parts")
    bound = keys.binding(unlocked.header.object_id, 0, keys.NO_ATTEMPT, unlocked.plaintext_size)
    return Place(unlocked.data_key, unlocked.header.salt, bound, unlocked.plaintext_size, unlocked.expander)


def _place_of_part(unlocked: Unlocked, number: int, size: int, salt: bytes) -> Place:
    bound = keys.binding(unlocked.header.object_id, number, salt[: keys.ID_SIZE], size)
    return Place(unlocked.data_key, salt, bound, size)


def _nothing() -> Digests:
    return NO_DIGESTS
