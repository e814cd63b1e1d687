"""Errors of the key service, with the codes and statuses of AWS KMS."""

from proxy.aws.errors import AwsError


class KmsError(AwsError):
    """An error that AWS KMS would answer."""
