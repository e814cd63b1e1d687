"""Trust policies of roles: resource policies whose resource is the role itself.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
"""

from collections.abc import Mapping
from typing import Any

from proxy.aws import policy
from proxy.aws.policy import MalformedPolicy, Policy

_parsed: dict[int, tuple[Mapping[str, Any], Policy]] = {}
"""By the identity of the document, which is kept so that its id stays its own."""
_MAX_PARSED = 1024


def parse(document: Mapping[str, Any]) -> Policy:
    """A trust policy. Raises MalformedPolicy."""
    known = _parsed.get(id(document))
    if known is not None:
        return known[1]
    statements = document.get("Statement", ())
    listed = [statements] if isinstance(statements, Mapping) else statements
    if not isinstance(listed, list | tuple):
        raise MalformedPolicy("Statement is empty or not a list")
    whole = []
    for statement in listed:
        if not isinstance(statement, Mapping):
            raise MalformedPolicy("A statement is a JSON object")
        for name in ("Resource", "NotResource"):
            if name in statement:
                raise MalformedPolicy(f"Has prohibited field {name}")
        whole.append({**statement, "Resource": "*"})
    result = policy.parse_resource({**document, "Statement": whole})
    if len(_parsed) >= _MAX_PARSED:
        _parsed.clear()
    _parsed[id(document)] = (document, result)
    return result
