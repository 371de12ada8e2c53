"""Generated traces: the same for a seed, and like the real ones in rate, unevenness and lengths.

Thirty minutes are few: one trace may differ from the next as real half hours do. So what is compared is the
mean of SEEDS traces, with three standard errors or the stated share, whichever is more.
"""

import doctest
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from statistics import fmean, pstdev, quantiles, stdev

import pytest

from lambdascale.errors import ConfigError
from lambdascale.workload import observed as observed_module
from lambdascale.workload.generator import generate
from lambdascale.workload.observed import Quantiles, counts_of, dispersion, gap_cv, observed
from lambdascale.workload.recipes import RECIPES, SNIPPET
from lambdascale.workload.trace import TraceRow

SEEDS = 12
SHORT = tuple(name for name in RECIPES if name != "day-like")


@cache
def made(name: str, seed: int) -> tuple[TraceRow, ...]:
    return generate(name, seed)


def arrivals(rows: tuple[TraceRow, ...]) -> list[float]:
    return [row.arrival_s for row in rows]


def over_seeds(name: str, measure: Callable[[tuple[TraceRow, ...]], float]) -> tuple[float, float]:
    """Mean over seeds, and three standard errors of it."""
    found = [measure(made(name, seed)) for seed in range(SEEDS)]
    return fmean(found), 3 * stdev(found) / SEEDS**0.5


def test_the_examples_are_right():
    assert doctest.testmod(observed_module).failed == 0


@pytest.mark.parametrize("name", SHORT)
def test_a_seed_gives_one_trace_and_another_seed_another(name: str):
    rows = generate(name, 1)
    assert rows == generate(name, 1)
    assert rows != generate(name, 2)
    assert arrivals(rows) == sorted(arrivals(rows))
    assert arrivals(rows)[-1] <= RECIPES[name].duration_s


def test_a_trace_is_the_same_in_every_process():
    program = (
        "from lambdascale.workload.generator import generate\n"
        "from lambdascale.workload.trace import digest_of\n"
        "print(digest_of(generate('azure-code-like', 5)))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(printed) == 1


def test_the_snippet_has_the_papers_requests_in_every_minute():
    for seed in range(3):
        rows = generate("burstgpt-like", seed)
        assert len(rows) == 498
        assert counts_of(arrivals(rows), 60.0, 1763) == SNIPPET


@pytest.mark.parametrize(("name", "share"), [("azure-conv-like", 0.05), ("azure-code-like", 0.1)])
def test_the_mean_rate_is_the_real_one(name: str, share: float):
    """The states of the code trace have only 12 bins an hour in their highest: 10 %."""
    rates = observed()[RECIPES[name].rates].rates
    found, error = over_seeds(name, lambda rows: len(rows) / RECIPES[name].duration_s)
    assert abs(found - rates.mean) < max(error, share * rates.mean)


@pytest.mark.parametrize("name", SHORT)
def test_counts_of_ten_seconds_are_as_uneven_as_the_real_ones(name: str):
    """All seeds together, as slow changes are between half hours: 25 %, for they are few in any hour."""
    recipe = RECIPES[name]
    counts = [
        count
        for seed in range(SEEDS)
        for count in counts_of(arrivals(made(name, seed)), 10.0, recipe.duration_s)
    ]
    rates = observed()[recipe.rates].rates
    assert dispersion(counts) == pytest.approx(rates.dispersion_10s, rel=0.25)


@pytest.mark.parametrize(("name", "share"), [("burstgpt-like", 0.1), ("azure-conv-like", 0.1)])
def test_gaps_vary_as_the_real_ones(name: str, share: float):
    rates = observed()[RECIPES[name].rates].rates
    found, error = over_seeds(name, lambda rows: gap_cv(arrivals(rows)))
    assert abs(found - rates.cv) < max(error, share * rates.cv)


def test_gaps_of_the_code_trace_vary_by_nearly_as_much():
    """9.7 of 13.2: in a chain of states the longest silences are shorter than the real ones."""
    found, _ = over_seeds("azure-code-like", lambda rows: gap_cv(arrivals(rows)))
    assert 0.6 * 13.151 < found < 13.151


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("what", ["prompt", "output"])
def test_lengths_have_the_real_mean_and_deciles(name: str, what: str):
    """Pooled over seeds: at least 5,976 lengths; the mean within 5 %, deciles within 8 % or 2 tokens."""
    real: Quantiles = getattr(observed()[RECIPES[name].lengths].lengths, what)
    rows = [row for seed in range(SEEDS) for row in made(name, seed)]
    found = [getattr(row, f"{what}_tokens") for row in rows]
    assert fmean(found) == pytest.approx(real.mean, rel=0.05)
    for decile, expected in zip(quantiles(found, n=10), real.quantiles[4:-1:4], strict=True):
        assert decile == pytest.approx(expected, rel=0.08, abs=2)


def test_a_day_has_its_requests_its_hours_and_its_bursts():
    rows = generate("day-like")
    assert len(rows) == 100_000
    hours = counts_of(arrivals(rows), 3600.0, 86_400.0)
    profile = observed()["burstgpt_hours"].hourly
    night, day = sum(profile[4:10]) / sum(profile), sum(profile[10:16]) / sum(profile)
    assert sum(hours[4:10]) / len(rows) == pytest.approx(night, abs=0.05)
    assert sum(hours[10:16]) / len(rows) == pytest.approx(day, abs=0.15)
    assert max(counts_of(arrivals(rows), 10.0, 86_400.0)) > 10 * 100_000 / 8640, "surges of 10×"


def test_every_number_has_its_source():
    for name, numbers in observed().items():
        assert "(" in numbers.source, name
        if numbers.rates is not None:
            for row in (*numbers.rates.transition, numbers.rates.occupancy):
                assert sum(row) == pytest.approx(1, abs=1e-3)
        if numbers.counts_10s:
            assert pstdev(numbers.counts_10s) > 0


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="no trace 'xyz-like' is generated; use one of burstgpt"):
        generate("xyz-like")
