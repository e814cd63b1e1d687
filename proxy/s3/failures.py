"""What goes wrong beneath an operation, in S3's words."""

import logging

from proxy.aws.errors import AwsError
from proxy.envelope.errors import EnvelopeError
from proxy.kms.errors import KmsError
from proxy.s3 import errors
from proxy.s3.encryption.sse import as_s3_error
from proxy.s3.gateway import Target
from proxy.s3.state.ports import StateUnavailable
from proxy.s3.upstream.port import UpstreamError
from proxy.stream import BodyCutShort

logger = logging.getLogger(__name__)

FAILURES = (KmsError, EnvelopeError, StateUnavailable, UpstreamError, BodyCutShort)
"""All that an operation may raise beside what is an error of S3 already."""


def as_error(failure: Exception, target: Target, request_id: str) -> AwsError:
    """The error that the client is told; what the operator has to know is logged.

    ``failure`` is one of ``FAILURES``, or is raised again.
    """
    match failure:
        case KmsError():
            return as_s3_error(failure, target.key)
        case EnvelopeError():
            logger.error("%s %s does not verify: %s", request_id, target.path, failure)
            return errors.damaged_object(target.key)
        case StateUnavailable():
            logger.error("%s the gateway's state cannot be used: %s", request_id, failure)
            return errors.service_unavailable()
        case UpstreamError():
            logger.error("%s the store did not answer: %s", request_id, failure)
            return errors.service_unavailable()
        case BodyCutShort():
            message = "You did not provide the number of bytes specified by the Content-Length HTTP header"
            return AwsError("IncompleteBody", message, 400)
    raise failure
