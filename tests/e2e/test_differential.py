"""The same requests to the store itself and through the proxy: everything but what encryption must change is the same.

``tests/e2e/differential/deviations.py`` has what differs for a good reason. ``DIFFERENTIAL_SEED`` in the environment
runs the requests of an earlier run again.
"""

from tests.e2e.differential import machine
from tests.e2e.stores import Endpoint


def test_the_proxy_answers_as_the_store_does(endpoint: Endpoint) -> None:
    machine.run(endpoint, seconds=60, examples=500)
