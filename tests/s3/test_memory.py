import pytest

from proxy.aws.errors import AwsError
from proxy.s3.memory import MemoryBudget


def test_what_is_held_is_bounded_and_given_back():
    budget = MemoryBudget(10)
    with budget.hold(6), budget.hold(4):
        with pytest.raises(AwsError) as error, budget.hold(1):
            pass
        assert (error.value.status, error.value.code) == (503, "SlowDown")
        with budget.hold(0):
            pass
    with budget.hold(10):
        pass


def test_a_failure_gives_back_too():
    budget = MemoryBudget(10)
    with pytest.raises(ZeroDivisionError), budget.hold(10):
        raise ZeroDivisionError
    with budget.hold(10):
        pass
