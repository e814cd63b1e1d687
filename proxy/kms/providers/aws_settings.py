"""How AWS KMS is asked; apart from the provider, whose driver takes a while to load."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class AwsKms:
    """Where AWS KMS is and how it is asked."""

    owned_key_id: str
    """The key behind SSE-S3: id, ARN, alias or alias ARN. Objects written with it need it for ever."""
    managed_key_id: str | None = None
    """What stands for ``alias/aws/s3``, which lets nobody in but S3 itself; None to ask for it all the same."""
    region: str | None = None
    """Where all keys are; None: in the Region of the bucket, as on AWS."""
    endpoint_url: str | None = None
    access_key_id: str | None = None
    """None: credentials are found as the AWS SDKs find them, by botocore's chain."""
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    connections: int = 64
    """The most connections to one Region."""
    connect_timeout: float = 2.0
    timeout: float = 10.0
    """Seconds for a call, all its attempts together."""
    attempts: int = 3
