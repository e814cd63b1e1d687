"""POST forms: which requests are some, and their beginning, which says who has signed them."""

from collections.abc import AsyncGenerator
from typing import Final

from proxy.aws.errors import AwsError
from proxy.aws.form_data import FormReader, boundary_of, is_form, malformed
from proxy.aws.message import Request
from proxy.s3.bodies.post_form import PostForm, fields_of
from proxy.stream import Body, BodyCutShort, Buffer

_NO_LENGTH: Final = "You must provide the Content-Length HTTP header."


def is_post_form(request: Request) -> bool:
    """Whether an unsigned request is a form, which carries its signature in its body."""
    return request.method == "POST" and not request.query and is_form(request.headers.get("Content-Type", ""))


async def receive(request: Request) -> PostForm:
    """Reads a form as far as its file.

    Raises:
        AwsError: it is malformed, too large before its file, or without one; MissingContentLength.
    """
    if "Content-Length" not in request.headers:
        raise AwsError("MissingContentLength", _NO_LENGTH, 411)
    reader = FormReader(boundary_of(request.headers.get("Content-Type", "")))
    if isinstance(request.body, bytes):
        complete = reader.update(request.body)
        rest: Body = reader.rest
    else:
        complete = False
        try:
            while not complete:
                piece = await anext(request.body, None)
                if piece is None:
                    break
                complete = reader.update(piece)
        except BodyCutShort as error:
            raise malformed() from error
        rest = _following(reader.rest, request.body)
    if not complete or reader.head is None:
        raise malformed()
    return PostForm(request, reader.head, fields_of(reader.head), rest)


async def _following(first: bytes, body: Body) -> AsyncGenerator[Buffer, None]:
    """What is left of a body of which ``first`` has been read already."""
    assert not isinstance(body, bytes)  # noqa: S101 - the caller has looked
    try:
        if first:
            yield first
        async for piece in body:
            yield piece
    finally:
        await body.aclose()
