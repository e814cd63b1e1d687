"""The endpoint: one address for S3, KMS and STS.

A request is authenticated first, and the service in its verified credential scope serves it. Errors are rendered in
the form of the service that the request claims to be for.
"""

import asyncio
import base64
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from uuid import UUID

from multidict import CIMultiDict

from proxy.aws import post_signature, sigv4
from proxy.aws.credentials import CallOrigin
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.kms.errors import RootKeyUnusable, unsupported
from proxy.kms.service import KeyService
from proxy.kms.store import StoreUnavailable
from proxy.s3 import errors
from proxy.s3.bodies.post_form import PostForm
from proxy.server import forms, kms, s3, sts
from proxy.server.access_log import AccessLog
from proxy.server.s3 import S3Service
from proxy.stream import BodyCutShort, read_all
from proxy.sts.credentials import Credentials
from proxy.sts.service import StsService

logger = logging.getLogger(__name__)

_IDS_AT_ONCE = 64

HEALTH_PATH = "/-/health"
"""Answered to anonymous reads, which S3 has no use for here; with a signature it is a key like any other."""


@dataclass(frozen=True)
class Endpoint:
    """Handles every request of the HTTP server; ``handle`` raises nothing but cancellation."""

    s3: S3Service
    keys: KeyService
    sts: StsService
    credentials: Credentials
    clock: Callable[[], datetime]
    random: Callable[[int], bytes]
    worker: str
    """This process's name; S3's ``x-amz-id-2`` tells it, in base64."""
    keys_elsewhere: bool = False
    """Whether S3's keys are in AWS KMS: then a key made here would be of no use to anybody."""
    access_log: AccessLog | None = None

    async def handle(self, request: Request) -> Response:
        if request.path == HEALTH_PATH and request.method in ("GET", "HEAD") and sigv4.is_anonymous(request):
            return Response(200, CIMultiDict({"Content-Type": "text/plain"}), b"ok\n")
        service = claimed_service(request)
        request_id = self._request_id(service)
        try:
            response = await self._serve(request, request_id)
        except AwsError as error:
            response = self._render(service, error, request, request_id)
        except asyncio.CancelledError:
            # No status of an answer, since there is none: the number that others give a client that has gone.
            self._note(request_id, request, 499)
            raise
        except Exception:
            logger.exception("request %s failed", request_id)
            response = self._render(service, errors.internal_error(), request, request_id)
        if "Origin" in request.headers and service == "s3" and request.method != "OPTIONS":
            response = await self.s3.shared(request, response)
        self._note(request_id, request, response.status)
        return self._signed_off(response, service, request_id)

    def _note(self, request_id: str, request: Request, status: int) -> None:
        if self.access_log is not None:
            self.access_log.note(request_id, request.method, request.path, status)

    async def _serve(self, request: Request, request_id: str) -> Response:
        if request.method == "OPTIONS" and claimed_service(request) == "s3":
            # A browser asks without a signature whether it may send one.
            return await self.s3.preflight(request, request_id)
        if sigv4.is_anonymous(request):
            if claimed_service(request) != "s3":
                raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 400)
            if forms.is_post_form(request):
                return await self._serve_form(await forms.receive(request), request_id)
            return await self.s3.handle(request, sigv4.anonymous(request, self.clock()), request_id)
        if sigv4.claimed_service(request) not in (None, "s3"):
            # Clients of these services sign their body's hash without sending it.
            request = await _whole(request)
        verified = await self._verified(lambda: sigv4.verify(request, self.credentials, self.clock()), request_id)
        match verified.scope.service:
            case "s3":
                return await self.s3.handle(request, verified, request_id)
            case "kms" | "sts" as service:
                origin = _origin(request, verified, request_id)
                if service == "kms":
                    if self.keys_elsewhere:
                        raise unsupported("The keys of this endpoint are in AWS KMS. Send requests for them there.")
                    return await kms.handle(self.keys, request, origin)
                return await sts.handle(self.sts, request, origin)
            case other:
                message = f"The authorization header is malformed; incorrect service {other!r}."
                raise AwsError("AuthorizationHeaderMalformed", message, 400)

    async def _serve_form(self, form: PostForm, request_id: str) -> Response:
        if "policy" in form.fields:
            verified = await self._verified(
                lambda: post_signature.verify(form.fields, self.credentials, self.clock()), request_id
            )
        else:
            verified = sigv4.anonymous(form.request, self.clock())
        return await self.s3.handle_form(form, verified, request_id)

    async def _verified(self, verify: Callable[[], sigv4.Verified], request_id: str) -> sigv4.Verified:
        try:
            return verify()
        except AwsError:
            if not self.credentials.missed_key:
                raise
        # Another process has begun a new session key.
        try:
            await self.credentials.refresh()
        except (StoreUnavailable, RootKeyUnusable):
            logger.exception("%s the session keys cannot be read", request_id)
            raise errors.service_unavailable() from None
        return verify()

    @cached_property
    def _request_ids(self) -> list[str]:
        """Of requests to come: random bytes are had at once for many."""
        return []

    def _more_request_ids(self) -> str:
        digits = self.random(8 * _IDS_AT_ONCE).hex().upper()
        self._request_ids.extend(digits[at : at + 16] for at in range(16, len(digits), 16))
        return digits[:16]

    def _render(self, service: str, error: AwsError, request: Request, request_id: str) -> Response:
        match service:
            case "kms":
                return kms.render_error(error, request_id)
            case "sts":
                return sts.render_error(error, request_id)
        return s3.render_error(error, request_id, self._host_id, request.path)

    def malformed(self, status: int, reason: str) -> Response:
        """The answer to what is not even a request; the HTTP server asks for it."""
        request_id = self._request_id("s3")
        code = {408: "RequestTimeout", 431: "RequestHeaderSectionTooLarge", 500: "InternalError"}.get(
            status, "BadRequest"
        )
        error = AwsError(code, reason, status)
        return self._signed_off(s3.render_error(error, request_id, self._host_id, ""), "s3", request_id)

    def _signed_off(self, response: Response, service: str, request_id: str) -> Response:
        if service != "s3":
            return response
        headers = response.headers
        if not isinstance(headers, CIMultiDict):
            headers = CIMultiDict(headers)
            response = replace(response, headers=headers)
        headers["x-amz-request-id"] = request_id
        headers["x-amz-id-2"] = self._host_id
        headers["Server"] = "AmazonS3"
        return response

    @cached_property
    def _host_id(self) -> str:
        return base64.b64encode(self.worker.encode()).decode()

    def _request_id(self, service: str) -> str:
        if service == "s3":
            return self._request_ids.pop() if self._request_ids else self._more_request_ids()
        return str(UUID(bytes=self.random(16), version=4))


def claimed_service(request: Request) -> str:
    """The service that a request says it is for, before anything of it is verified: decides only how errors look."""
    if "X-Amz-Target" in request.headers:
        return "kms"
    authorization = request.headers.get("Authorization", "")
    if "/sts/" in authorization:
        return "sts"
    if request.query and ("%2Fsts%2F" in request.query or request.parameter("Action") is not None):
        return "sts"
    return "s3"


async def _whole(request: Request) -> Request:
    """The request with its body read."""
    try:
        return replace(request, body=await read_all(request.body, kms.MAX_BODY))
    except ValueError:
        raise AwsError("RequestEntityTooLarge", "The request is too large.", 413) from None
    except BodyCutShort:
        raise AwsError("IncompleteSignature", "The request body is incomplete.", 400) from None


def _origin(request: Request, verified: sigv4.Verified, request_id: str) -> CallOrigin:
    peer = request.peer
    return CallOrigin(
        caller=verified.caller,
        region=verified.scope.region,
        source_address=peer.address if peer else "",
        user_agent=request.headers.get("User-Agent", ""),
        secure_transport=bool(peer and peer.secure),
        request_id=request_id,
    )
