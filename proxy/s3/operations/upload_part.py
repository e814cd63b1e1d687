"""UploadPart: each attempt at a part is sealed under a key of its own, so that sending a part again with other bytes
never repeats a nonce."""

from multidict import CIMultiDict

from proxy.aws.message import Request, Response
from proxy.envelope import v1
from proxy.envelope.v1 import Unlocked
from proxy.s3.bodies import payload
from proxy.s3.bodies.payload import Payload
from proxy.s3.encryption import customer_keys, sse
from proxy.s3.errors import invalid_request, no_such_upload
from proxy.s3.forwarding import etag_of, expect
from proxy.s3.gateway import Call, Gateway
from proxy.s3.multipart import uploads
from proxy.s3.objects import etag as etags
from proxy.s3.operation import Level, operation
from proxy.s3.operations.object_answers import checksum_headers
from proxy.s3.operations.put_object import MAX_OBJECT, digests_of, shows_md5
from proxy.s3.state.ports import PartRecord, UploadRecord
from proxy.stream import Body, Gathering, pump


@operation("UploadPart", "PUT", Level.OBJECT, "s3:PutObject", query=["partNumber", "uploadId"])
async def upload_part(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html"""
    sse.refuse_choice(call.request.headers)
    customer_key = customer_keys.parse_for_write(call, gateway.settings)
    number = uploads.part_number(call)
    upload = await uploads.find_upload(gateway, call)
    plan = payload.plan(call.request, call.verified, limit=MAX_OBJECT)
    _check_algorithm(upload, plan)
    unlocked, _ = await uploads.unlock(gateway, call, upload, customer_key)
    part = await write_part(gateway, call, upload, unlocked, number, call.request.body, plan)
    found = CIMultiDict({"ETag": part.etag})
    found.update(sse.response_headers(unlocked.header, customer_key))
    found.update({name: value for name, value in checksum_headers(part.checksums, "").items() if value})
    return Response(200, found)


async def write_part(
    gateway: Gateway, call: Call, upload: UploadRecord, unlocked: Unlocked, number: int, body: Body, plan: Payload
) -> PartRecord:
    """Seals a body as a part of the upload and has the store keep it; ``plan`` says what the body is and how it is
    verified.

    Raises:
        AwsError: the body is not right, or the store's refusal.
    """
    with_md5 = shows_md5(gateway, unlocked.header.mode)
    verifier = plan.verifier(want_md5=with_md5)
    sealer = v1.seal_part(
        unlocked,
        number,
        plan.length,
        footer=lambda: digests_of(verifier, with_md5=with_md5),
        random=gateway.random,
    )
    sealed = pump(body, Gathering(verifier, sealer))
    headers = {"Content-Length": str(sealer.stored_size)}
    request = Request("PUT", call.target.path, uploads.upload_query(call, number), CIMultiDict(headers), sealed)
    answer = await gateway.upstream.send(request)
    await expect(answer, call.target, 200)
    upstream_etag = etag_of(answer.headers)
    part = PartRecord(
        upload_id=upload.upload_id,
        number=number,
        upstream_etag=upstream_etag,
        etag=f'"{verifier.md5.hex()}"' if with_md5 else etags.to_client(upstream_etag),
        attempt=sealer.salt[:16],
        salt=sealer.salt,
        size=plan.length,
        checksums=verifier.checksums,
        modified=gateway.clock(),
    )
    if not await gateway.uploads.add_part(part):
        # It was aborted or completed meanwhile; what the store has taken is part of nothing.
        raise no_such_upload(upload.upload_id)
    return part


def _check_algorithm(upload: UploadRecord, plan: Payload) -> None:
    """Refuses a part whose checksum is not of the algorithm that the upload was created with."""
    if upload.checksum_algorithm is None or plan.algorithm == upload.checksum_algorithm:
        return
    sent = plan.algorithm.lower() if plan.declared or plan.trailer else "null"
    raise invalid_request(
        f"Checksum Type mismatch occurred, expected checksum Type: {upload.checksum_algorithm.lower()}, "
        f"actual checksum Type: {sent}"
    )
