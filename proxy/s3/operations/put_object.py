"""PutObject: the body is verified and sealed on its way up; the store never holds a complete body that is not right.

Bodies up to 1 MiB are read whole first, so that their checksum stands in the metadata; larger ones stream, and what
is known at their end only stands in the envelope's footer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request, Response
from proxy.envelope import header as envelope_header
from proxy.envelope import v1
from proxy.envelope.digests import Digests
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Header, Mode
from proxy.envelope.ranges import FOOTER_THRESHOLD
from proxy.envelope.v1 import Wrapping
from proxy.s3.bodies import payload
from proxy.s3.bodies.payload import Payload, PayloadVerifier
from proxy.s3.encryption import sse
from proxy.s3.encryption.data_keys import new_data_key
from proxy.s3.encryption.sse import Choice
from proxy.s3.errors import invalid_request
from proxy.s3.forwarding import etag_of, store_error
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.objects import etag as etags
from proxy.s3.objects import preconditions
from proxy.s3.objects.headers import add_envelope, pick, to_store
from proxy.s3.objects.records import drop_refused, drop_removed, records_of, version_id_of
from proxy.s3.operation import Level, operation
from proxy.s3.operations.object_answers import checksum_headers
from proxy.s3.state.ports import ObjectRecord
from proxy.stream import Body, BodyCutShort, Gathering, pump, transformed

MAX_OBJECT: Final = 5 * 1024**3
"""Bytes that one PUT may carry, as on AWS."""


@operation("PutObject", "PUT", Level.OBJECT, "s3:PutObject")
async def put_object(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html"""
    begun = gateway.clock()
    target = call.target
    choice = sse.choose(call, gateway.settings)
    headers = to_store(call.request.headers, gateway.settings.store)
    plan = payload.plan(call.request, call.verified, limit=MAX_OBJECT)
    refuse_lost_content(gateway, target, plan.length)
    records = await records_of(gateway, target)
    headers.update(await preconditions.for_write(gateway, call, records))
    written = await write_object(gateway, call, call.request.body, plan, choice, headers, records, begun)
    found = pick(written.answer, ("x-amz-version-id", "x-amz-expiration"))
    found["ETag"] = written.etag
    found.update(sse.response_headers(written.header, choice.customer_key, with_context=True))
    found.update(checksum_headers(written.checksums, "FULL_OBJECT"))
    return Response(200, found)


@dataclass(frozen=True)
class Written:
    """An object that the store has taken."""

    header: Header
    etag: str
    """What clients see."""
    checksums: Mapping[str, str]
    answer: Headers
    """The head of the store's answer."""


async def write_object(
    gateway: Gateway,
    call: Call,
    body: Body,
    plan: Payload,
    choice: Choice,
    headers: CIMultiDict[str],
    records: Sequence[ObjectRecord],
    begun: datetime,
) -> Written:
    """Seals a body and has the store keep it as the call's target.

    ``plan`` says what the body is and how it is verified, ``headers`` what goes up beside the envelope (conditions
    too); ``records`` are those that the key had at the moment ``begun``.

    Raises:
        AwsError: the body is not right, or the store's refusal.
        KmsError: the key service refuses or fails.
    """
    target = call.target
    bare = target.key.endswith("/") and plan.length == 0
    data_key, wrapping = await new_data_key(gateway, call.origin, target, choice)
    with_md5 = shows_md5(gateway, choice.mode)
    verifier = plan.verifier(want_md5=with_md5)
    copies = 3 if choice.mode is Mode.KMS_DSSE else 2
    with gateway.memory.hold(copies * plan.length if plan.length <= FOOTER_THRESHOLD else 0):
        header, sealed, size = await _sealed(gateway, body, plan, verifier, data_key, wrapping)
        if bare:
            sealed, size, record = b"", 0, None
        else:
            add_envelope(headers, envelope_header.encode(header), gateway.settings.store.metadata_limit)
            record = await _announce(gateway, call, header, plan, begun)
        headers["Content-Length"] = str(size)
        request = Request("PUT", target.path, headers=headers, body=sealed)
        answer = await _store(gateway, call, request, None if bare else header, record)
    upstream_etag = etag_of(answer.headers)
    if record is not None:
        shown = f'"{verifier.md5.hex()}"' if with_md5 else None
        version_id = version_id_of(answer.headers)
        record = replace(record, upstream_etag=upstream_etag, etag=shown, version_id=version_id)
        await gateway.objects.put(record)
    await drop_removed(gateway, records, answer.headers)
    etag = upstream_etag if bare else etags.to_client(upstream_etag, record)
    return Written(header, etag, verifier.checksums, answer.headers)


async def _store(
    gateway: Gateway, call: Call, request: Request, header: Header | None, announced: ObjectRecord | None
) -> Response:
    """The store's answer to a PUT that it has taken; ``header`` is the object's, if it has an envelope."""
    try:
        answer = await gateway.upstream.send(request)
        if answer.status != 200:
            error = await store_error(answer, call)
            own = None
            if answer.status == 412 and header is not None and isinstance(request.body, bytes):
                own = await _taken_before(gateway, request, header)
            if own is not None:
                return own
            raise await preconditions.write_error(gateway, call, error)
    except (AwsError, BodyCutShort) as error:
        await drop_refused(gateway, announced, error)
        raise
    await answer.aclose()
    return answer


async def _taken_before(gateway: Gateway, request: Request, header: Header) -> Response | None:
    """The head of the object that is there, if it is this very one: a request that is sent again, over a connection
    that turned out to be closed, may meet its own first success, which its condition then refuses."""
    answer = await gateway.upstream.send(Request("HEAD", request.path))
    await answer.aclose()
    try:
        there = envelope_header.decode(answer.headers) if answer.status == 200 else None
    except EnvelopeError:
        return None
    return answer if there is not None and there.object_id == header.object_id else None


async def _sealed(
    gateway: Gateway, body: Body, plan: Payload, verifier: PayloadVerifier, data_key: bytes, wrapping: Wrapping
) -> tuple[Header, Body, int]:
    """The envelope's header, the body to be stored and its size; a short body has been verified, a long one will be
    as it is read."""
    with_md5 = shows_md5(gateway, wrapping.mode)
    if plan.length <= FOOTER_THRESHOLD:
        plaintext = await transformed(body, verifier)
        digests = digests_of(verifier, with_md5=with_md5)
        header, sealer = v1.seal_single(
            data_key, wrapping, plaintext_size=plan.length, digests=digests, random=gateway.random
        )
        return header, b"".join((sealer.update(plaintext), sealer.finalize())), sealer.stored_size
    header, sealer = v1.seal_single(
        data_key,
        wrapping,
        plaintext_size=plan.length,
        digests=Digests(plan.declared),
        footer=lambda: digests_of(verifier, with_md5=with_md5),
        random=gateway.random,
    )
    return header, pump(body, Gathering(verifier, sealer)), sealer.stored_size


def refuse_lost_content(gateway: Gateway, target: Target, length: int) -> None:
    """Refuses content under a key that ends in ``/``, where the store would drop it.

    Raises:
        AwsError: InvalidRequest.
    """
    if length and target.key.endswith("/") and gateway.settings.store.drops_marker_bodies:
        raise invalid_request("The store behind this endpoint keeps no content under a key that ends in '/'.")


def digests_of(verifier: PayloadVerifier, *, with_md5: bool) -> Digests:
    """What a verifier has found, once it is done."""
    return Digests(verifier.checksums, verifier.md5 if with_md5 else None)


def shows_md5(gateway: Gateway, mode: Mode) -> bool:
    return mode is Mode.S3 and gateway.settings.md5_etags


async def _announce(
    gateway: Gateway, call: Call, header: Header, plan: Payload, begun: datetime
) -> ObjectRecord | None:
    """Puts an object on record, before it is in the store, that a listing could not tell the ETag, size or nature
    of."""
    if not (call.record.mixed or header.layers > 1 or shows_md5(gateway, header.mode)):
        return None
    target = call.target
    record = ObjectRecord(
        target.bucket, target.key, header.object_id, None, plan.length, None, b"", begun, layers=header.layers
    )
    await gateway.objects.put(record)
    return record
