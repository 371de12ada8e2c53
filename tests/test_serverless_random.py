"""Random serverless runs: every token is right, nobody waits for ever, and twice is the same."""

import pytest
from random_runs import random_run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Seeds 0 to 19, or as many as `--seeds` says (`make soak`)."""
    if "any_seed" in metafunc.fixturenames:
        metafunc.parametrize("any_seed", range(metafunc.config.getoption("seeds")))


def test_whatever_happens_every_token_is_right_and_nobody_waits_for_ever(any_seed: int):
    random_run(any_seed).run()


@pytest.mark.parametrize("seed", [5, 11])
def test_the_same_run_twice_is_the_same_to_the_last_record(seed: int):
    assert random_run(seed).run().log.records == random_run(seed).run().log.records
