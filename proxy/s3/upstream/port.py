"""Port Upstream: the S3 store behind the gateway, and the errors that every implementation raises."""

from typing import Protocol

from proxy.aws.credentials import StoreCredentials
from proxy.aws.message import Request, Response


class UpstreamError(Exception):
    """The store could not be reached, did not answer in time, or broke its answer off."""


class UpstreamTimeout(UpstreamError):
    """The store did not answer in time; it may have done what was asked."""


class Upstream(Protocol):
    """The store. ``send`` signs a request, with the proxy's own credentials unless it is one that ``asking_as`` gave,
    and returns the answer's head, with the body as a stream (or bytes, for a short one).

    The request's ``headers`` say what is to be sent beside what the transport adds (Host, Authorization, X-Amz-Date,
    x-amz-content-sha256); a streamed body needs ``Content-Length`` in them. An exception raised by the request's
    body is raised by ``send`` as it is, after the connection was cut, so that the store holds no complete body.
    ``send`` closes a streamed body whatever happens; its pieces must not be changed once they are handed out. An
    answer that comes before the whole body is sent ends the sending, and is returned.
    ``patience`` is how long the answer is waited for where that is longer than usual, as a copy within the store takes.
    An answer of any status is returned, not raised. The caller must read the answer's body to its end or ``aclose``
    it. Redirects are not followed. Not promised: that a request is sent once; one whose body is bytes may be sent
    again when a pooled connection turns out to be closed before any byte of an answer.
    """

    async def send(self, request: Request) -> Response:
        """Raises UpstreamError or UpstreamTimeout, or what the request's body raises."""
        ...

    def asking_as(self, credentials: StoreCredentials | None) -> "Upstream":
        """The same store by the same connections, asked with other credentials; None: its requests are not signed.
        It is closed with the one that it is of."""
        ...

    async def aclose(self) -> None: ...
