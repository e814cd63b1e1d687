"""Version 1 of the envelope: sealing, unlocking and opening objects. See FORMAT.md."""

import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field

from proxy.envelope import footer as footers
from proxy.envelope import keys
from proxy.envelope import record as records
from proxy.envelope.digests import NO_DIGESTS, Digests
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import RECORD_NONCE_SIZE, Header, Layout, Mode, kind_of
from proxy.envelope.keys import Expander
from proxy.envelope.parts import LARGEST_NUMBER, PartsTable, make_frame
from proxy.envelope.ranges import FOOTER_THRESHOLD, PartsPlan, Window, stored_size
from proxy.envelope.record import Record
from proxy.envelope.segments import Expect, Opener, Sealer, Section, Segments, Skip, new_stream
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
) -> tuple[Header, Sealer]:
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
    seal_footer = _footer_sealer(data_key, salt, bound, footer) if plaintext_size > FOOTER_THRESHOLD else None
    return header, Sealer(new_stream(expander, salt, bound, plaintext_size), footer=seal_footer)


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
    """
    _, record_key, content = _open_record(header, data_key)
    return _seal_header(data_key, wrapping, header.layout, header.salt, header.commitment, record_key, content, random)


def seal_part(
    unlocked: Unlocked,
    number: int,
    plaintext_size: int,
    *,
    footer: Callable[[], Digests] | None = None,
    random: Random,
) -> Sealer:
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
    bound = _part_binding(unlocked, number, plaintext_size, salt)
    return Sealer(
        new_stream(Expander(unlocked.data_key, salt), salt, bound, plaintext_size),
        make_frame(number, plaintext_size, salt),
        _footer_sealer(unlocked.data_key, salt, bound, footer),
    )


def open_single(unlocked: Unlocked) -> Opener:
    """The opener of a whole body, its footer included. Raises ValueError for a multipart object."""
    size = _single_size(unlocked)
    salt = unlocked.header.salt
    bound = keys.binding(unlocked.header.object_id, 0, keys.NO_ATTEMPT, size)
    stream = new_stream(unlocked.expander, salt, bound, size)
    check = _footer_checker(unlocked.data_key, salt, bound) if size > FOOTER_THRESHOLD else None
    return Opener((Expect(stream.header), Segments(stream, 0, stream.last, check)), 0, size)


def open_range(unlocked: Unlocked, window: Window) -> Opener:
    """The opener of a range of a single PUT; ``ranges.window`` makes the window.

    The footer is not looked at, even where it lies within the window. Raises ValueError for a multipart object.
    """
    size = _single_size(unlocked)
    bound = keys.binding(unlocked.header.object_id, 0, keys.NO_ATTEMPT, size)
    stream = new_stream(unlocked.expander, unlocked.header.salt, bound, size)
    sections: list[Section] = [Skip(window.lead)]
    if not window.first_segment:
        sections.append(Expect(stream.header))
    sections.append(Segments(stream, window.first_segment, window.last_segment))
    sections.append(Skip(window.trail))
    return Opener(sections, window.skip, window.length)


def open_parts(unlocked: Unlocked, table: PartsTable, plan: PartsPlan) -> Opener:
    """The opener of a multipart object or a range of it; ``table`` must come from ``parts.verify``.

    Raises:
        EnvelopeError: the table is another object's.
        ValueError: the table was not verified.
    """
    if not table.verified:
        raise ValueError("the table of parts was not verified")
    if table.object_id != unlocked.header.object_id:
        raise EnvelopeError("the table of parts is another object's")
    return Opener(_part_sections(unlocked, table, plan), plan.skip, plan.length)


def open_footer(unlocked: Unlocked, data: Buffer) -> Digests:
    """What the footer of a single PUT says; ``ranges.footer_range`` says where it lies.

    Raises:
        EnvelopeError: it is damaged or another object's.
    """
    bound = keys.binding(unlocked.header.object_id, 0, keys.NO_ATTEMPT, _single_size(unlocked))
    return footers.open_(unlocked.data_key, unlocked.header.salt, bound, data)


def open_part_footer(unlocked: Unlocked, number: int, size: int, salt: bytes, data: Buffer) -> Digests:
    """What the footer of a part says.

    Raises:
        EnvelopeError: it is damaged or another part's.
    """
    return footers.open_(unlocked.data_key, salt, _part_binding(unlocked, number, size, salt), data)


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
    kind = kind_of(wrapping.mode, layout, bucket_key=bucket_wrapped is not None, rewrapped=rewrapped is not None)
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
    if len(data_key) != keys.DATA_KEY_SIZE:
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
    )
    bound = records.binding(kind, header.salt, header.key_arn, keys.canonical_context(header.context))
    return expander, record_key, records.open_(record_key, header.record, bound)


def _single_size(unlocked: Unlocked) -> int:
    if unlocked.plaintext_size is None:
        raise ValueError("a multipart object is opened by its parts")
    return unlocked.plaintext_size


def _part_binding(unlocked: Unlocked, number: int, size: int, salt: bytes) -> bytes:
    return keys.binding(unlocked.header.object_id, number, salt[: keys.ID_SIZE], size)


def _footer_sealer(
    data_key: bytes, salt: bytes, bound: bytes, content: Callable[[], Digests] | None
) -> Callable[[], bytes]:
    return lambda: footers.seal(data_key, salt, bound, NO_DIGESTS if content is None else content())


def _footer_checker(data_key: bytes, salt: bytes, bound: bytes) -> Callable[[Buffer], object]:
    return lambda data: footers.open_(data_key, salt, bound, data)


def _part_sections(unlocked: Unlocked, table: PartsTable, plan: PartsPlan) -> Iterator[Section]:
    for index in range(plan.first_part, plan.last_part + 1):
        part = table.parts[index]
        bound = _part_binding(unlocked, part.number, part.size, part.salt)
        stream = new_stream(Expander(unlocked.data_key, part.salt), part.salt, bound, part.size)
        first = plan.first_segment if index == plan.first_part else 0
        if not first:
            yield Expect(make_frame(part.number, part.size, part.salt) + stream.header)
        if index < plan.last_part or plan.whole:
            yield Segments(stream, first, stream.last, _footer_checker(unlocked.data_key, part.salt, bound))
        else:
            yield Segments(stream, first, plan.last_segment)
