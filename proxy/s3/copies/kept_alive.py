"""Answers that take longer than clients wait for a first byte: begun before they are known, as S3 does for copies.

After ten seconds the answer begins: 200, an XML declaration, and from then on a space now and then, until the document
is there, be it the result or an error. SDKs look for an error in the document of such a 200. What stands in headers
of a quick answer, as the new version's id, a late one has not.

Source: "Response and special errors" in https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.aws.xml_codec import DECLARATION
from proxy.s3.errors import internal_error
from proxy.s3.failures import FAILURES, as_error
from proxy.s3.gateway import Call

logger = logging.getLogger(__name__)

PATIENCE: Final = 10.0
"""Seconds before the answer begins, and then between one space and the next."""

LENGTH: Final = 32 * 1024
"""Bytes of a late answer: its length is told before it is known, and what is left over is white space at its end."""

_DECLARATION: Final = DECLARATION.encode()


async def kept_alive(call: Call, work: Coroutine[Any, Any, Response], patience: float = PATIENCE) -> Response:
    """The answer that ``work`` gives, an XML document; or, once that takes long, one that has begun.

    Raises:
        Exception: what ``work`` raises in time.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait([task], timeout=patience)
    except asyncio.CancelledError:
        await _cancel(task)
        raise
    if done:
        return task.result()
    headers = CIMultiDict({"Content-Type": "application/xml", "Content-Length": str(LENGTH)})
    return Response(200, headers, _Late(call, task, patience))


class _Late:
    """The body of an answer that has begun before it was known. Closing it gives up the work."""

    def __init__(self, call: Call, task: "asyncio.Task[Response]", patience: float) -> None:
        self._call = call
        self._task = task
        self._patience = patience
        self._left = LENGTH

    def __aiter__(self) -> "_Late":
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        if self._left == LENGTH:
            return self._give(_DECLARATION)
        if not (await asyncio.wait([self._task], timeout=self._patience))[0]:
            return self._give(b" ")
        document = self._document().removeprefix(_DECLARATION)
        return self._give(document.ljust(self._left))

    async def aclose(self) -> None:
        self._left = 0
        await _cancel(self._task)

    def _give(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        return piece

    def _document(self) -> bytes:
        try:
            body = self._task.result().body
            return body if isinstance(body, bytes) else self._error(internal_error())
        except FAILURES as failure:
            return self._error(as_error(failure, self._call.target, self._call.request_id))
        except AwsError as error:
            return self._error(error)
        except Exception:
            # The client has a 200 and waits for the document that says what became of it.
            logger.exception("request %s failed", self._call.request_id)
            return self._error(internal_error())

    def _error(self, error: AwsError) -> bytes:
        members = {"Code": error.code, "Message": error.message, **error.detail, "RequestId": self._call.request_id}
        return xml_codec.render("Error", members, namespace=None)


async def _cancel(task: "asyncio.Task[Response]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
