"""The same requests to the store itself and through the proxy: everything but what encryption must change is the same.

``tests/e2e/differential/deviations.py`` has what differs for a good reason. The requests are the same in each run,
so that a failure is the change's; ``make soak`` has others each time, and ``DIFFERENTIAL_SEED`` in the environment
names those of a run.
"""

from tests.e2e.differential import machine
from tests.e2e.stores import Endpoint

SEED = 1


def test_the_proxy_answers_as_the_store_does(endpoint: Endpoint) -> None:
    machine.run(endpoint, seconds=60, examples=500, seed_of_run=SEED)
