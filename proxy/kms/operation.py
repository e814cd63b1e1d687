"""KMS operations as values, and the table that calls them by name."""

from proxy.aws.credentials import CallOrigin
from proxy.kms.service import KeyService


class OperationTable:
    """The operations by name. ``proxy.kms.operations.OPERATIONS`` is the one in use."""

    async def call(self, service: KeyService, origin: CallOrigin, target: str, body: bytes) -> bytes:
        """Answers one call: ``target`` is the value of X-Amz-Target (``TrentService.Encrypt``), ``body`` and the
        answer are JSON.

        Raises KmsError and nothing else."""
        raise NotImplementedError
