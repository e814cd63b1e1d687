"""Errors of STS, with AWS's codes, texts and statuses.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html and the pages of the operations.
"""

from proxy.aws.errors import AwsError


def access_denied(message: str) -> AwsError:
    return AwsError("AccessDenied", message, 403)


def validation(message: str) -> AwsError:
    return AwsError("ValidationError", message)


def malformed_policy(message: str) -> AwsError:
    return AwsError("MalformedPolicyDocument", message)


def packed_policy_too_large(percent: int) -> AwsError:
    message = f"Packed policy consumes {percent}% of allotted space, please use smaller policy."
    return AwsError("PackedPolicyTooLarge", message)


def malformed_input() -> AwsError:
    """A parameter that is no number, or a structure where a text is expected."""
    return AwsError("MalformedInput", None)


def missing_action() -> AwsError:
    return AwsError("MissingAction", "The request must contain the parameter Action")


def invalid_action(action: str, version: str) -> AwsError:
    return AwsError("InvalidAction", f"Could not find operation {action} for version {version or 'NO_VERSION'}")


def unavailable() -> AwsError:
    """The key store can't be reached; the request may be sent again."""
    return AwsError("ServiceUnavailable", "The request has failed due to a temporary failure of the server.", 503)
