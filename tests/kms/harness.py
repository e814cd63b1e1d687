"""A key service as a client sees it: botocore makes each request and reads each answer, in process."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from multidict import CIMultiDict

from proxy.aws.credentials import Caller, CallOrigin
from proxy.aws.message import Request
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.service import KeyService
from proxy.kms.store import KeyStore
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.server import kms
from tests.fakes import FakeClock, FakeRandom

ACCOUNT = "111122223333"
REGION = "ap-northeast-1"
ROOT_KEY = bytes(range(32))


@cache
def model(operation: str) -> OperationModel:
    service = botocore.session.get_session().get_service_model("kms")
    found: OperationModel = service.operation_model(operation)
    return found


def user(
    name: str, *actions: str, account: str = ACCOUNT, region: str = REGION, deny: Sequence[str] = ()
) -> CallOrigin:
    """A user with one policy that allows the actions on everything, calling in a Region."""
    statements = [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}] if actions else []
    statements += [{"Effect": "Deny", "Action": list(deny), "Resource": "*"}] if deny else []
    policies = ({"Version": "2012-10-17", "Statement": statements},) if statements else ()
    caller = Caller(account, f"arn:aws:iam::{account}:user/{name}", "AIDAEXAMPLE", "AKIAEXAMPLE", policies)
    return CallOrigin(caller, region, request_id="00000000-0000-4000-8000-000000000000")


ADMIN = user("admin", "kms:*")
THROUGH_S3 = replace(ADMIN, via_service=f"s3.{REGION}.amazonaws.com")


class KmsFault(Exception):
    """An error answer, as botocore reads it."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.code: str = answer["Error"]["Code"]
        self.message: str = answer["Error"]["Message"]
        self.status: int = answer["ResponseMetadata"]["HTTPStatusCode"]
        super().__init__(f"{self.status} {self.code}: {self.message}")


class Kms:
    """A started key service with a clock and randomness of its own."""

    def __init__(self, store: KeyStore | None = None, clock: FakeClock | None = None, **options: Any) -> None:
        self.clock = clock or FakeClock()
        self.random = FakeRandom(str(id(self)))
        self.store = store or MemoryKeyStore()
        root_key = LocalRootKey(ROOT_KEY, self.random)
        self.service = KeyService(self.store, root_key, self.clock, self.random, **options)

    async def start(self) -> "Kms":
        await self.service.start()
        return self

    async def call(self, operation: str, origin: CallOrigin = ADMIN, **members: Any) -> dict[str, Any]:
        """One call; the answer has been held against the operation's output shape. Raises KmsFault."""
        request = serialize(operation, members)
        response = await kms.handle(self.service, request, origin)
        assert isinstance(response.body, bytes)
        shape = model(operation).output_shape
        raw = {"status_code": response.status, "headers": dict(response.headers), "body": response.body}
        answer: dict[str, Any] = create_parser("json").parse(raw, shape)
        if response.status != 200:
            raise KmsFault(answer)
        document = json.loads(response.body) if response.body else {}
        if shape is None or not shape.members:
            assert response.body in (b"", b"{}")
        else:
            check_shape(document, shape, operation)
        del answer["ResponseMetadata"]
        return answer

    async def key(self, origin: CallOrigin = ADMIN, **members: Any) -> str:
        """A new key's id."""
        answer = await self.call("CreateKey", origin, **members)
        return str(answer["KeyMetadata"]["KeyId"])

    async def state(self, key_id: str) -> str:
        return str((await self.call("DescribeKey", KeyId=key_id))["KeyMetadata"]["KeyState"])


def serialize(operation: str, members: Mapping[str, Any]) -> Request:
    """The request that botocore sends, its own validation of the parameters left out."""
    sent = create_serializer("json", include_validation=False).serialize_to_request(dict(members), model(operation))
    body = sent["body"]
    return Request(
        "POST", "/", headers=CIMultiDict(sent["headers"]), body=body if isinstance(body, bytes) else body.encode()
    )


def check_shape(value: Any, shape: Shape, path: str) -> None:
    """Holds an answer to the service model: no unknown member, no missing one, every constraint."""
    if isinstance(shape, StructureShape):
        assert isinstance(value, dict), path
        assert value.keys() <= shape.members.keys(), f"{path}: {value.keys() - shape.members.keys()}"
        assert set(shape.required_members) <= value.keys(), path
        for name, member in value.items():
            check_shape(member, shape.members[name], f"{path}.{name}")
    elif isinstance(shape, ListShape):
        assert isinstance(value, list), path
        for member in value:
            check_shape(member, shape.member, path)
    elif isinstance(shape, MapShape):
        assert isinstance(value, dict), path
    elif shape.type_name == "boolean":
        assert isinstance(value, bool), path
    elif shape.type_name == "integer":
        assert isinstance(value, int), path
    elif shape.type_name == "timestamp":
        assert isinstance(value, int | float), path
    else:
        _check_text(value, shape, path)


def _check_text(value: Any, shape: Shape, path: str) -> None:
    assert isinstance(value, str), path
    if isinstance(shape, StringShape) and shape.enum:
        # Documented to be the same as KeySpec, though its enumeration lacks the newer specs.
        specs = model("CreateKey").input_shape.members["KeySpec"].enum if shape.name == "CustomerMasterKeySpec" else ()
        assert value in (*shape.enum, *specs), path
    if shape.type_name == "string":
        # GrantListEntry.Name is empty for a grant without one, though the model wants a character.
        least = 0 if path.endswith(".Name") else shape.metadata.get("min", 0)
        assert least <= len(value) <= shape.metadata.get("max", 2**20), path
        pattern = shape.metadata.get("pattern")
        assert not value or pattern is None or re.search(pattern, value), path
