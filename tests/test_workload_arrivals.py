"""Made-up workloads have the rates and shares they state, and depend on their seed alone."""

from collections import Counter
from itertools import pairwise

import pytest

from lambdascale.errors import ConfigError
from lambdascale.workload.arrivals import Bursts, bursty, poisson, popularity, spread
from lambdascale.workload.trace import TraceRow

MODELS = tuple(f"model-{i}" for i in range(12))
PER_MINUTE = 1 / 60


def test_poisson_arrivals_have_the_rate_and_the_spread_of_gaps():
    hours = 50.0
    rows = poisson(MODELS, PER_MINUTE, hours * 3600, seed=0)
    assert list(rows) == sorted(rows, key=lambda row: row.arrival_s)
    counts = Counter(row.model for row in rows)
    for model in MODELS:  # 3,000 expected, standard deviation 55
        assert abs(counts[model] - 3000) < 4 * 55
    gaps = [b.arrival_s - a.arrival_s for a, b in pairwise(rows)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation / mean == pytest.approx(1, abs=0.03)  # exponential; 36,000 gaps


def test_a_models_arrivals_do_not_depend_on_the_other_models():
    every = poisson(MODELS, PER_MINUTE, 3600, seed=7)
    few = poisson(MODELS[3:5], PER_MINUTE, 3600, seed=7)
    assert [row for row in every if row.model in MODELS[3:5]] == list(few)
    assert poisson(MODELS, PER_MINUTE, 3600, seed=7) == every
    assert poisson(MODELS, PER_MINUTE, 3600, seed=8) != every


def test_poisson_requests_have_the_stated_lengths_and_end_in_time():
    rows = poisson(["one"], 2.0, 30.0, seed=0, prompt_tokens=5, output_tokens=3)
    assert {(row.prompt_tokens, row.output_tokens) for row in rows} == {(5, 3)}
    assert max(row.arrival_s for row in rows) < 30.0


def test_bursty_arrivals_have_the_rate_of_steady_ones_and_far_more_in_their_fullest_minutes():
    hours = 50.0
    steady = poisson(MODELS[:1], PER_MINUTE, hours * 3600, seed=0)
    rows = bursty(MODELS[:1], PER_MINUTE, hours * 3600, seed=0, bursts=Bursts())
    assert len(rows) == pytest.approx(hours * 60, rel=0.15), "bursts differ in length"
    assert list(rows) == sorted(rows, key=lambda row: row.arrival_s)

    def dispersion(rows: tuple[TraceRow, ...]) -> float:
        per_minute = Counter(int(row.arrival_s // 60) for row in rows)
        counts = [per_minute[minute] for minute in range(int(hours * 60))]
        mean = sum(counts) / len(counts)
        return sum((count - mean) ** 2 for count in counts) / len(counts) / mean

    assert dispersion(steady) == pytest.approx(1.0, rel=0.2), "Poisson"
    assert dispersion(rows) > 1.5


def test_bursts_that_surge_by_nothing_are_steady():
    rows = bursty(MODELS, PER_MINUTE, 36_000, seed=0, bursts=Bursts(surge=1.0))
    expected = len(MODELS) * 600
    assert abs(len(rows) - expected) < 4 * expected**0.5


def test_popularity_falls_as_one_over_the_rank():
    shares = popularity(12)
    assert sum(shares) == pytest.approx(1)
    assert [shares[0] / share for share in shares] == pytest.approx(range(1, 13))
    assert popularity(4, exponent=0) == (0.25,) * 4


def test_a_trace_is_spread_over_models_by_popularity_and_is_otherwise_the_same():
    rows = [TraceRow(i / 10, i % 7 + 1, i % 5 + 1, "old") for i in range(12_000)]
    found = spread(rows, MODELS, seed=0)
    counts = Counter(row.model for row in found)
    for model, share in zip(MODELS, popularity(12), strict=True):
        deviation = (12_000 * share * (1 - share)) ** 0.5
        assert abs(counts[model] - 12_000 * share) < 4 * deviation
    lengths = [(row.arrival_s, row.prompt_tokens, row.output_tokens) for row in rows]
    assert [(row.arrival_s, row.prompt_tokens, row.output_tokens) for row in found] == lengths
    assert spread(rows, MODELS, seed=0) == found
    assert spread(rows, MODELS, seed=1) != found


def test_workloads_that_cannot_be_made_are_refused():
    with pytest.raises(ConfigError, match="rate is 0"):
        poisson(MODELS, 0, 10, seed=0)
    with pytest.raises(ConfigError, match="name at least one"):
        poisson([], 1, 10, seed=0)
    with pytest.raises(ConfigError, match="each only once"):
        spread([], ["a", "a"], seed=0)
    with pytest.raises(ConfigError, match=r"surge is 0\.5"):
        Bursts(surge=0.5)
    with pytest.raises(ConfigError, match="num_models is 0"):
        popularity(0)
