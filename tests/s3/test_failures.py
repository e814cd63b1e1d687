"""What clients are told of what goes wrong beneath an operation."""

import pytest

from proxy.aws.errors import AwsError
from proxy.envelope.errors import EnvelopeError
from proxy.kms.errors import KmsError
from proxy.s3.failures import FAILURES, as_error
from proxy.s3.gateway import Target
from proxy.s3.state.ports import StateUnavailable
from proxy.s3.upstream.port import UpstreamError, UpstreamTimeout
from proxy.stream import BodyCutShort


@pytest.mark.parametrize(
    ("failure", "code", "status"),
    [
        (KmsError("DisabledException", "x is disabled."), "KMS.DisabledException", 400),
        (KmsError("AccessDeniedException", "no"), "AccessDenied", 403),
        (EnvelopeError("secret detail"), "InternalError", 500),
        (StateUnavailable("secret detail"), "ServiceUnavailable", 503),
        (UpstreamError("secret detail"), "ServiceUnavailable", 503),
        (UpstreamTimeout("secret detail"), "ServiceUnavailable", 503),
        (BodyCutShort("secret detail"), "IncompleteBody", 400),
    ],
)
def test_each_failure_has_its_error(failure: Exception, code: str, status: int) -> None:
    assert isinstance(failure, FAILURES)
    error = as_error(failure, Target("b", "k"), "REQUESTID")
    assert (type(error), error.code, error.status) == (AwsError, code, status)
    assert "secret" not in (error.message or "")


def test_what_is_none_of_them_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        as_error(ZeroDivisionError(), Target("b", "k"), "REQUESTID")
