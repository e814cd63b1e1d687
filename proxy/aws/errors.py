"""The base of every error that a client of this endpoint may see.

An error is raised where it is known, with AWS's code, message and status, and rendered once, at the edge: as XML
for S3, as JSON for KMS, as XML of another form for STS.
"""

from collections.abc import Mapping
from types import MappingProxyType


class AwsError(Exception):
    """An error with AWS's code, message and HTTP status.

    ``message`` may be None: AWS sends some errors (InvalidCiphertextException) without one. ``detail`` holds further
    elements of the error document by name, such as ``ArgumentName``, and ``headers`` goes into the response's head.
    """

    def __init__(
        self,
        code: str,
        message: str | None,
        status: int = 400,
        *,
        detail: Mapping[str, str] = MappingProxyType({}),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
        self.detail = detail
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code
