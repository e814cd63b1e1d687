"""STS as a client sees it: botocore makes each request and reads each answer, in process."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import botocore.session
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from multidict import CIMultiDict

from proxy.aws.credentials import AccessKey, Caller, CallOrigin
from proxy.aws.message import Request
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.server import sts
from proxy.sts.credentials import Credentials
from proxy.sts.principals import ADMINISTRATOR_ACCESS, Principals, Role
from proxy.sts.service import StsService
from proxy.sts.session_keys import SessionKeys
from tests.fakes import FakeClock, FakeRandom

ACCOUNT = "111122223333"
OTHER = "444455556666"
REGION = "eu-west-1"
MODEL = botocore.session.get_session().get_service_model("sts")

MAY_ASSUME = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}],
}


def user(name: str, *policies: Mapping[str, Any], account: str = ACCOUNT) -> AccessKey:
    arn = f"arn:aws:iam::{account}:{'root' if name == 'root' else f'user/{name}'}"
    id = f"AKIA{name.upper()}"
    return AccessKey(id, f"secret of {name}", Caller(account, arn, f"AIDA{name.upper()}", id, policies))


def trust(*principals: str, condition: Mapping[str, Any] | None = None) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"AWS": list(principals)},
        "Action": "sts:AssumeRole",
    }
    if condition:
        statement["Condition"] = condition
    return {"Version": "2012-10-17", "Statement": [statement]}


def role(name: str, trust_policy: Mapping[str, Any], account: str = ACCOUNT, **settings: Any) -> Role:
    return Role(account, name, trust_policy, (ADMINISTRATOR_ACCESS,), **settings)


class StsFault(Exception):
    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.code: str = answer["Error"]["Code"]
        self.message: str = answer["Error"].get("Message", "")
        self.status: int = answer["ResponseMetadata"]["HTTPStatusCode"]
        super().__init__(f"{self.status} {self.code}: {self.message}")


class Sts:
    """STS with a clock, randomness and principals of its own."""

    def __init__(self, users: list[AccessKey], roles: list[Role], audit: Any = None) -> None:
        self.clock = FakeClock()
        self.random = FakeRandom("sts")
        self.store = MemoryKeyStore()
        self.principals = Principals(users, roles)
        self.keys = SessionKeys(self.store, LocalRootKey(bytes(range(32)), self.random), self.clock, self.random)
        self.credentials = Credentials(self.principals, self.keys)
        self.service = StsService(self.principals, self.keys, self.clock, self.random, audit)

    async def start(self) -> "Sts":
        await self.keys.refresh()
        return self

    async def call(self, operation: str, caller: Caller, **members: Any) -> dict[str, Any]:
        """One call; raises StsFault."""
        model = MODEL.operation_model(operation)
        given = {name: value for name, value in members.items() if value is not None}
        sent = create_serializer("query", include_validation=False).serialize_to_request(given, model)
        return await self.post(operation, caller, urlencode(sent["body"]).encode())

    async def post(self, operation: str, caller: Caller, form: bytes) -> dict[str, Any]:
        request = Request("POST", "/", headers=CIMultiDict(), body=form)
        origin = CallOrigin(
            caller, REGION, request_id="00000000-0000-4000-8000-000000000000", source_address="192.0.2.9"
        )
        response = await sts.handle(self.service, request, origin)
        raw = {"status_code": response.status, "headers": dict(response.headers), "body": response.body}
        answer: dict[str, Any] = create_parser("query").parse(raw, MODEL.operation_model(operation).output_shape)
        if response.status != 200:
            raise StsFault(answer)
        return answer

    async def assume(self, caller: Caller, role: Role, **members: Any) -> dict[str, Any]:
        return await self.call("AssumeRole", caller, **{"RoleArn": role.arn, "RoleSessionName": "session", **members})

    def caller_of(self, credentials: Mapping[str, Any]) -> Caller:
        """Whom temporary credentials stand for now. Raises InvalidSessionToken or ExpiredSessionToken."""
        found = self.credentials.find_temporary(credentials["AccessKeyId"], credentials["SessionToken"], self.clock())
        assert found.secret == credentials["SecretAccessKey"]
        assert found.id == found.caller.access_key_id == credentials["AccessKeyId"]
        return found.caller
