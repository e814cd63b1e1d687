"""The machine of all rules, and how it is run for a time and a number of examples, from a seed that is told."""

import os
import secrets
import time

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test

from tests.e2e.differential.asks import Side, Sides
from tests.e2e.differential.copy_rules import CopyRules
from tests.e2e.differential.listing_rules import ListingRules
from tests.e2e.differential.version_rules import VersionRules
from tests.e2e.differential.world import World
from tests.e2e.samples import new_bucket, s3
from tests.e2e.stores import Endpoint
from tests.e2e.wire import Wire

_SEED = "DIFFERENTIAL_SEED"
_ROUND = 100
_STEPS = 14


class Machine(ListingRules, CopyRules, VersionRules):
    """Every rule there is."""

    @initialize(mode=st.sampled_from(["aws:kms", "AES256"]), versioned=st.booleans())
    def begin(self, mode: str, versioned: bool) -> None:
        self.sides, self.versioned = self.bucket_pairs[mode, versioned], versioned


def run(endpoint: Endpoint, *, seconds: float, examples: int, seed_of_run: int | None = None) -> None:
    """Runs examples for at least ``seconds`` and at least as many as asked for, from a seed of its own if none is given
    and none stands in the environment."""
    first = int(os.environ.get(_SEED) or (secrets.randbits(32) if seed_of_run is None else seed_of_run))
    print(f"{_SEED}={first} runs the same requests on {endpoint.store.name} again")
    pairs = {
        (mode, versioned): _buckets(endpoint, mode, versioned)
        for mode in ("aws:kms", "AES256")
        for versioned in (False, True)
    }
    begun, done, asked = time.monotonic(), 0, World.requests
    while done < examples or time.monotonic() - begun < seconds:
        members = {"bucket_pairs": pairs, "run_name": secrets.token_hex(3)}
        machine = seed(first + done)(type("Machine", (Machine,), members))
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=_ROUND,
                stateful_step_count=_STEPS,
                deadline=None,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
        done += _ROUND
    took = time.monotonic() - begun
    print(f"{endpoint.store.name}: {done} examples, {World.requests - asked} requests in {took:.0f} s")


def _buckets(endpoint: Endpoint, mode: str, versioned: bool) -> Sides:
    """A pair of buckets of their own: the store's with nothing, the proxy's with a rule."""
    proxied = new_bucket(endpoint, mode)
    plain = f"{proxied}-plain"
    store = endpoint.store.client()
    store.create_bucket(Bucket=plain)
    if versioned:
        enabled = {"Status": "Enabled"}
        s3(endpoint).put_bucket_versioning(Bucket=proxied, VersioningConfiguration=enabled)
        store.put_bucket_versioning(Bucket=plain, VersioningConfiguration=enabled)
    direct = Side(Wire.to_store(endpoint.store), plain, direct=True)
    return Sides(endpoint.store.name, mode, direct, Side(Wire(endpoint), proxied, direct=False))
