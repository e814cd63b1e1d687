"""The KMS endpoint: JSON 1.1 over POST, ``X-Amz-Target: TrentService.<Operation>``."""

from proxy.aws.credentials import CallOrigin
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.kms.service import KeyService

MAX_BODY = 1024 * 1024
"""Bytes of a request that are read at most."""


async def handle(service: KeyService, request: Request, origin: CallOrigin) -> Response:
    """Answers an authenticated request. ``origin.region`` is the Region of the verified credential scope, and
    ``origin.request_id`` becomes ``x-amzn-RequestId``. Raises nothing: every error is an answer."""
    raise NotImplementedError


def render_error(error: AwsError, request_id: str) -> Response:
    """An error in the form of KMS, for what fails before ``handle`` (authentication) as well as inside it."""
    raise NotImplementedError
