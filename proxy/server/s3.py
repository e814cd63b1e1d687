"""S3 over HTTP: from an authenticated request to the operation it asks for, and from errors to error documents."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from xml.sax.saxutils import escape

from multidict import CIMultiDict

from proxy.aws.credentials import Caller
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response, decode_percent
from proxy.aws.sigv4 import Verified, effective_headers
from proxy.s3 import errors
from proxy.s3.access import cors
from proxy.s3.access.authorization import check_owner, refusal
from proxy.s3.access.object_tags import authorize_on_object
from proxy.s3.bodies import post_form
from proxy.s3.bodies.post_form import PostForm
from proxy.s3.buckets.records import bucket_on_record
from proxy.s3.failures import FAILURES, as_error
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.operation import Operation, RouteTable
from proxy.s3.state.ports import BucketRecord, StateUnavailable

logger = logging.getLogger(__name__)

_MAX_KEY_BYTES = 1024
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
"""Wider than AWS's rules, for old buckets that are adopted; nothing in it can change what a path names."""


class S3Service:
    """Serves S3 requests whose signatures have been verified, or that have none: what those may do is for the bucket's
    policy to say."""

    def __init__(self, gateway: Gateway, routes: RouteTable) -> None:
        self._gateway = gateway
        self._routes = routes
        self._domains = by_length(gateway.settings.domains)

    async def handle(self, request: Request, verified: Verified, request_id: str) -> Response:
        """The operation's answer.

        Raises:
            AwsError: every refusal and fault, ready to be rendered.
        """
        target = target_of(request, self._domains)
        try:
            return await self._serve(effective_headers(request), verified, request_id, target)
        except FAILURES as error:
            raise as_error(error, target, request_id) from error

    async def handle_form(self, form: PostForm, verified: Verified, request_id: str) -> Response:
        """The answer to a POST form, whose policy's signature has been verified if there is a policy.

        Raises:
            AwsError: every refusal and fault, ready to be rendered.
        """
        gateway, target = self._gateway, post_form.target_of(form, target_of(form.request, self._domains))
        try:
            policy = post_form.check(form, target.bucket, gateway.clock()) if verified.posted else None
            put = await post_form.as_put(form, target, policy, gateway.memory)
            return post_form.answer(form, target, await self._serve(put, verified, request_id, target))
        except FAILURES as error:
            raise as_error(error, target, request_id) from error

    async def preflight(self, request: Request, request_id: str) -> Response:
        """The answer to a browser that asks what a page of another origin may do.

        Raises:
            AwsError: there is no rule for it.
        """
        target = target_of(request, self._domains)
        try:
            bucket = await self._gateway.buckets.get(target.bucket) if target.bucket else None
        except StateUnavailable as error:
            logger.error("%s the gateway's state cannot be used: %s", request_id, error)
            raise errors.service_unavailable() from error
        return cors.answer_preflight(request, target, bucket)

    async def shared(self, request: Request, response: Response) -> Response:
        """An answer, an error or not, to a request that names its Origin, with what lets the browser hand it on."""
        try:
            target = target_of(request, self._domains)
            bucket = await self._gateway.buckets.get(target.bucket) if target.bucket else None
        except (AwsError, StateUnavailable):
            return response
        allowing = cors.allowing_headers(request, bucket) if bucket is not None else None
        if allowing is None:
            return response
        headers = CIMultiDict(response.headers)
        headers.update(allowing)
        return replace(response, headers=headers)

    async def _serve(self, request: Request, verified: Verified, request_id: str, target: Target) -> Response:
        operation = self._routes.find(request, target)
        if not self._gateway.settings.store.fits(target.key):
            raise errors.no_such_key(target.key) if request.method in ("GET", "HEAD") else errors.unfit_key(target.key)
        bucket = await self._bucket(target, operation, verified.caller)
        if bucket is not None and not self._gateway.settings.any_region and not verified.caller.anonymous:
            _refuse_other_region(verified.scope.region, bucket.region)
        call = Call(request, target, verified.caller, verified, request_id, bucket)
        check_owner(call)
        if operation.action:
            call = await authorize_on_object(self._gateway, call, operation.action)
        try:
            return await operation.run(self._gateway.asking_for(call.caller), call)
        except AwsError as error:
            if error.code == "NoSuchKey" and self._may_not_list(call):
                # Who may not list a bucket is not told which keys there are not.
                raise errors.access_denied() from error
            raise

    def _may_not_list(self, call: Call) -> bool:
        return refusal(call, "s3:ListBucket", Target(call.target.bucket), self._gateway.clock) is not None

    async def _bucket(self, target: Target, operation: Operation, caller: Caller) -> BucketRecord | None:
        if not target.bucket or operation.makes_bucket:
            return None
        if caller.anonymous:
            # The store is asked nothing on behalf of whoever has not signed before a policy allows it.
            record = await self._gateway.buckets.get(target.bucket)
            if record is None:
                raise errors.no_such_bucket(target.bucket)
            return record
        return await bucket_on_record(self._gateway, target.bucket)


def by_length(domains: Iterable[str]) -> tuple[str, ...]:
    """Base domains as ``target_of`` wants them: in lower case, a domain before the one that it is part of."""
    return tuple(sorted({domain.lower() for domain in domains}, key=len, reverse=True))


def target_of(request: Request, domains: tuple[str, ...]) -> Target:
    """What a request names, from its raw path and, in the virtual-hosted style, its Host. ``domains``: see
    ``by_length``.

    Raises:
        AwsError: InvalidURI for what is not UTF-8, InvalidBucketName, KeyTooLongError.
    """
    path = decode_percent(request.path)
    if not path.startswith("/"):
        raise errors.invalid_uri(request.path)
    bucket = _virtual_host_bucket(request.headers.get("Host", ""), domains)
    if bucket:
        key = path[1:]
    else:
        bucket, _, key = path[1:].partition("/")
    try:
        size = len(key.encode())
        bucket.encode()
    except UnicodeEncodeError:
        raise errors.invalid_uri(request.path) from None
    if (bucket or path != "/") and not _BUCKET_NAME.fullmatch(bucket):
        raise errors.invalid_bucket_name(bucket)
    if size > _MAX_KEY_BYTES:
        raise errors.key_too_long(size)
    return Target(bucket, key)


def _virtual_host_bucket(host: str, domains: tuple[str, ...]) -> str:
    name, _, port = host.rpartition(":")
    name = (name if port.isdigit() else host).lower()
    for domain in domains:
        if name == domain:
            return ""
        if name.endswith(f".{domain}"):
            return name[: -len(domain) - 1]
    return ""


def _refuse_other_region(asked: str, region: str) -> None:
    if asked != region:
        message = f"The authorization header is malformed; the region '{asked}' is wrong; expecting '{region}'"
        raise AwsError("AuthorizationHeaderMalformed", message, 400, detail={"Region": region})


def render_error(error: AwsError, request_id: str, host_id: str, resource: str) -> Response:
    """S3's error document; the server leaves its body out of an answer to HEAD."""
    members: Mapping[str, str | None] = {
        "Code": error.code,
        "Message": error.message,
        **error.detail,
        "Resource": decode_percent(resource),
        "RequestId": request_id,
        "HostId": host_id,
    }
    inner = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in members.items() if value is not None)
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()
    headers = CIMultiDict(error.headers)
    headers["Content-Type"] = "application/xml"
    headers["Content-Length"] = str(len(body))
    return Response(error.status, headers, body)


def _text(value: str) -> str:
    """Character data: escaped, with what XML 1.0 cannot hold replaced."""
    legal = (
        char if char in "\t\n\r" or " " <= char <= "\ud7ff" or "\ue000" <= char != "\ufffe" else "\ufffd"
        for char in value
    )
    return escape("".join(legal))
