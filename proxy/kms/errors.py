"""Errors of the key service, with the codes, messages and statuses of AWS KMS.

Every function makes one error with AWS's own text; the texts were taken from AWS's documentation and recorded answers.
The status is 400, except KMSInternalException and KeyUnavailableException (500) and DependencyTimeoutException (503).
"""

from typing import Final

from proxy.aws.errors import AwsError

_STATUS: Final = {"KMSInternalException": 500, "KeyUnavailableException": 500, "DependencyTimeoutException": 503}


class KmsError(AwsError):
    """An error that AWS KMS would answer. Without ``status``, the one that belongs to the code."""

    def __init__(self, code: str, message: str | None = None, status: int | None = None) -> None:
        super().__init__(code, message, status or _STATUS.get(code, 400))


class WrongRootKey(Exception):
    """The root key at hand is not the one that sealed this store; raised at start, before any request."""


class RootKeyUnusable(Exception):
    """The root key could not be read, or may be read by others than its owner; the text says what to do."""


def access_denied(message: str) -> KmsError:
    return KmsError("AccessDeniedException", message)


def foreign_ciphertext() -> KmsError:
    """A ciphertext blob whose KMS key is not known here, or not open to the caller at all."""
    return access_denied(
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
        "or you are not allowed to access."
    )


def invalid_ciphertext() -> KmsError:
    """AWS sends this one without a message, whatever is wrong with the blob or the encryption context."""
    return KmsError("InvalidCiphertextException")


def incorrect_key() -> KmsError:
    return KmsError(
        "IncorrectKeyException",
        "The key ID in the request does not identify a CMK that can perform this operation.",
    )


def key_not_found(arn: str) -> KmsError:
    return KmsError("NotFoundException", f"Key '{arn}' does not exist")


def invalid_key_id(key_id: str) -> KmsError:
    return KmsError("NotFoundException", f"Invalid keyId '{key_id}'")


def invalid_arn(what: str) -> KmsError:
    """An ARN that names nothing here: of another Region (then ``what`` is the Region) or not of KMS."""
    return KmsError("NotFoundException", f"Invalid arn {what}")


def alias_not_found(arn: str) -> KmsError:
    return KmsError("NotFoundException", f"Alias {arn} is not found.")


def invalid_state(message: str) -> KmsError:
    return KmsError("KMSInvalidStateException", message)


def disabled(arn: str) -> KmsError:
    return KmsError("DisabledException", f"{arn} is disabled.")


def unsupported(message: str) -> KmsError:
    return KmsError("UnsupportedOperationException", message)


def unsupported_origin(arn: str, origin: str) -> KmsError:
    return unsupported(f"{arn} origin is {origin} which is not valid for this operation.")


def unsupported_spec(arn: str, spec: str) -> KmsError:
    return unsupported(f"{arn} key spec is {spec} which is not valid for this operation.")


def invalid_key_usage(arn: str, usage: str, operation: str) -> KmsError:
    return KmsError("InvalidKeyUsageException", f"{arn} key usage is {usage} which is not valid for {operation}.")


def incompatible_algorithm(algorithm: str, spec: str) -> KmsError:
    return KmsError("InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec {spec}.")


def throttling() -> KmsError:
    return KmsError(
        "ThrottlingException",
        "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.",
    )


def custom_key_store_not_found(id: str) -> KmsError:
    return KmsError("CustomKeyStoreNotFoundException", f"Custom key store {id} does not exist.")


def validation(message: str) -> KmsError:
    return KmsError("ValidationException", message)


def malformed_policy(message: str) -> KmsError:
    return KmsError("MalformedPolicyDocumentException", message)


def invalid_marker() -> KmsError:
    return KmsError("InvalidMarkerException", "Marker is not valid.")


def limit_exceeded(message: str) -> KmsError:
    return KmsError("LimitExceededException", message)


def internal() -> KmsError:
    """What a client learns of a fault of this program: nothing but that there was one."""
    return KmsError("KMSInternalException", "An internal error occurred. Try again later.")


def abandoned() -> KmsError:
    """For the audit log alone: the client went away before the answer."""
    return KmsError("RequestAbandoned", "The connection ended before the request was answered.")


def dependency_timeout() -> KmsError:
    """The store of keys could not be reached in time; the request may be sent again."""
    return KmsError("DependencyTimeoutException", "The system timed out while trying to fulfill the request.")


def key_unavailable() -> KmsError:
    """The root key cannot be reached; the request may be sent again."""
    return KmsError(
        "KeyUnavailableException",
        "The request was rejected because the specified KMS key was not available. You can retry the request.",
    )


def dry_run() -> KmsError:
    return KmsError("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
