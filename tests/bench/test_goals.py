"""What a goal is measured by: figures of the same round, and the median of the rounds."""

from tests.bench.cells import Measured, Results, Sample, saturated
from tests.bench.goals import CPU_GET, GOAL_CELLS, GROWTH, MIB, RATE_GET, Extra, goals

EXTRA = Extra(seal=0.95, open=0.5, range_requests=1, range_bytes=1.99, peak=151 * MIB)


def sample(rate: float = 1.0, front: float = 1.0, generator: float = 0.1) -> Sample:
    return Sample(rate, 0.0, 1.0, 2.0, {"front": front, "store": 1.0}, 0, generator)


def results(**found: list[Sample]) -> Results:
    """Of the cell for CPU per small GET."""
    return {(CPU_GET.name, name): Measured(CPU_GET, name, samples) for name, samples in found.items()}


def test_a_goal_is_the_median_of_the_rounds_ratios() -> None:
    nginx = [sample(front=front) for front in (10, 100, 10)]
    proxy = [sample(front=front) for front in (20, 250, 90)]
    by_name = {goal.name: goal for goal in goals(results(nginx=nginx, proxy=proxy), EXTRA)}
    goal = by_name["CPU per GET of 4 KiB against nginx"]
    assert (goal.measured, goal.met) == (2.5, True)
    assert by_name["CPU per PUT of 4 KiB against nginx"].measured is None
    assert not by_name["CPU per PUT of 4 KiB against nginx"].met


def test_growth_is_per_byte() -> None:
    found: Results = {
        (cell.name, "proxy"): Measured(cell, "proxy", [sample(front=cell.operation.size * cost)] * 5)
        for cell, cost in zip(GROWTH, (2, 2.08, 1, 2), strict=True)
    }
    by_name = {goal.name: goal for goal in goals(found, EXTRA)}
    assert by_name["CPU per MB, GET 1 GiB against 8 MiB"].summary() == {
        "name": "CPU per MB, GET 1 GiB against 8 MiB",
        "goal": "<= 1.05",
        "measured": 1.04,
        "met": True,
    }
    assert by_name["CPU per MB, PUT 1 GiB against 8 MiB"].measured == 2


def test_what_is_measured_by_itself() -> None:
    met = {goal.name: goal.met for goal in goals({}, EXTRA)}
    assert met["sealing against AESGCM.encrypt_into"]
    assert not met["opening against AESGCM.encrypt_into"]
    assert met["range of 64 KiB: requests to the store"]
    assert not met["peak of a worker with 32 transfers of 1 GiB, MiB"]


def test_a_generator_that_takes_most_of_a_core_is_named() -> None:
    found = results(nginx=[sample(generator=0.8)], proxy=[sample(generator=0.2)])
    assert list(saturated(found)) == [f"{CPU_GET.name}: nginx"]


def test_every_goal_cell_has_five_rounds_and_who_it_compares() -> None:
    assert all(cell.rounds >= 5 for cell in GOAL_CELLS)
    assert {"seaweedfs", "proxy-all-workers"} <= set(RATE_GET.contenders)
