"""Amazon Resource Names: ``arn:partition:service:region:account:resource``.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arn:
    """One ARN. ``region`` and ``account`` are empty where the service has none, as in ``arn:aws:s3:::bucket/key``."""

    partition: str
    service: str
    region: str
    account: str
    resource: str
    """All that follows the fifth colon: ``key/1234…``, ``alias/name``, ``user/path/name``, ``bucket/key``."""

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"

    @property
    def resource_type(self) -> str:
        """What stands before the first ``/`` of the resource (``key``, ``alias``, ``user``), or all of it."""
        return self.resource.partition("/")[0]

    @property
    def resource_id(self) -> str:
        """What follows the first ``/`` of the resource, or ``""``."""
        return self.resource.partition("/")[2]


def parse(text: str) -> Arn:
    """Parses an ARN. Nothing is checked beyond its form: each service has its own rules for the fields.

    Raises:
        ValueError: it has fewer than six fields, does not begin with ``arn:``, or its partition, service or resource
            is empty.
    """
    fields = text.split(":", 5)
    if len(fields) != 6 or fields[0] != "arn" or not (fields[1] and fields[2] and fields[5]):
        raise ValueError("not an ARN")
    return Arn(*fields[1:])


def is_arn(text: str) -> bool:
    """Whether a name that may be an ARN, an id or an alias has the form of an ARN."""
    return text.startswith("arn:")
