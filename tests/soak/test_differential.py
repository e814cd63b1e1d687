"""The long form of ``tests/e2e/test_differential.py``."""

from tests.e2e.differential import machine
from tests.e2e.stores import Endpoints


def test_the_proxy_answers_as_the_store_does(endpoints: Endpoints, store_name: str) -> None:
    machine.run(endpoints.get(store_name), seconds=900, examples=10_000)
