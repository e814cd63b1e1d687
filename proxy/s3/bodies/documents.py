"""Reading the XML document of a request, verified, and bounded in memory."""

from proxy.aws.errors import AwsError
from proxy.s3.bodies import payload
from proxy.s3.gateway import Call, Gateway
from proxy.stream import transformed


async def read_document(gateway: Gateway, call: Call, limit: int, *, checksum_of_body: bool = True) -> bytes:
    """The body of a request, after its framing, length, digests and signatures have been verified.

    ``checksum_of_body`` is False where checksum headers speak of something else than the document.

    Raises:
        AwsError: what ``payload.plan`` and its verifier raise; MaxMessageLengthExceeded past ``limit`` bytes.
    """
    try:
        plan = payload.plan(call.request, call.verified, limit=limit, checksum_of_body=checksum_of_body)
    except AwsError as error:
        if error.code == "EntityTooLarge":
            raise AwsError("MaxMessageLengthExceeded", "Your request was too large.", 400) from error
        raise
    with gateway.memory.hold(plan.length):
        return await transformed(call.request.body, plan.verifier(want_md5=False))
