"""The operations and the shapes of their inputs, held against botocore's model of KMS."""

import re
from typing import Any

import botocore.session
import pytest
from botocore.model import Shape as ModelShape

from proxy.aws.json_codec import Blob, Boolean, Integer, ListOf, MapOf, Shape, String, Structure, Timestamp
from proxy.kms import states
from proxy.kms.operations import OPERATIONS

SERVICE = botocore.session.get_session().get_service_model("kms")

NARROWER: dict[str, Any] = {
    # The model's constraints are wider than what the documentation says and AWS answers.
    "ListGrants.Limit": Integer(1, 100),
    "ListRetirableGrants.Limit": Integer(1, 100),
    "CreateGrant.Operations": 1,
}


def test_every_operation_of_the_model_is_known_and_no_other() -> None:
    assert OPERATIONS.names == set(SERVICE.operation_names)
    assert len(SERVICE.operation_names) == 54


@pytest.mark.parametrize("name", sorted(OPERATIONS.names))
def test_the_input_is_the_models(name: str) -> None:
    model = SERVICE.operation_model(name).input_shape
    assert model is not None
    compare(OPERATIONS._operations[name].input, model, name)


def compare(shape: Shape, model: ModelShape, path: str) -> None:
    """Both say the same of a member, constraint by constraint."""
    metadata = model.metadata
    bounds = (metadata.get("min"), metadata.get("max"))
    match shape:
        case Structure():
            assert model.type_name == "structure", path
            assert shape.members.keys() == model.members.keys(), path
            assert set(shape.required) == set(model.required_members), path
            for name, member in shape.members.items():
                compare(member, model.members[name], f"{path}.{name}")
        case String():
            assert model.type_name == "string", path
            assert set(shape.enum) == set(model.enum), path
            assert (shape.min, shape.max) == (bounds[0] or 0, bounds[1]), path
            assert decoded(shape.pattern) == decoded(metadata.get("pattern")), path
        case Blob():
            assert model.type_name == "blob", path
            assert (shape.min, shape.max) == bounds, path
        case Integer():
            assert model.type_name == "integer", path
            assert shape == NARROWER.get(path, Integer(*bounds)), path
        case ListOf():
            assert model.type_name == "list", path
            assert shape.min == NARROWER.get(path, bounds[0] or 0), path
            assert shape.max == bounds[1], path
            compare(shape.member, model.member, path)
        case MapOf():
            assert model.type_name == "map", path
            compare(shape.key, model.key, path)
            compare(shape.value, model.value, path)
        case Boolean() | Timestamp():
            assert model.type_name == type(shape).__name__.lower(), path
        case _:
            pytest.fail(f"{path}: {shape}")


def decoded(pattern: str | None) -> str | None:
    """A pattern with its Unicode escapes resolved: the model and the code may write them in different ways."""
    return pattern and re.sub(r"\\u([0-9A-F]{4})", lambda match: chr(int(match[1], 16)), pattern)


def test_the_key_state_table_knows_every_operation_on_a_key() -> None:
    on_no_key = {
        "ConnectCustomKeyStore",
        "CreateCustomKeyStore",
        "CreateKey",
        "DeleteCustomKeyStore",
        "DescribeCustomKeyStores",
        "DisconnectCustomKeyStore",
        "GenerateRandom",
        "ListKeys",
        "ListRetirableGrants",
        "UpdateCustomKeyStore",
    }
    assert set(states.KEY_STATE_TABLE) == set(SERVICE.operation_names) - on_no_key
    for row in states.KEY_STATE_TABLE.values():
        assert set(row) == set(states.KeyState)


def test_the_key_states_are_the_models() -> None:
    assert {state.value for state in states.KeyState} == set(SERVICE.shape_for("KeyState").enum)
