"""The STS endpoint: GetCallerIdentity, over the query protocol."""

from proxy.aws.credentials import CallOrigin
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response


async def handle(request: Request, origin: CallOrigin) -> Response:
    """Answers an authenticated request. Raises nothing: every error is an answer."""
    raise NotImplementedError


def render_error(error: AwsError, request_id: str) -> Response:
    """An error in the form of STS."""
    raise NotImplementedError
