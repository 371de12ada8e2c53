"""Traces of our own that look like real ones, so that every experiment runs without a download.

How many requests come, and how unevenly, is that of a real trace in numbers (`observed`): the rate follows a
hidden Markov chain over bins of ten seconds and varies within a state; requests are as clustered as was seen.
Where a trace's totals or its daily profile are known, they are kept. Lengths are drawn from quantiles.
Nothing of a real request is copied, and one seed always gives the same trace.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import sqrt
from random import Random
from statistics import NormalDist

from lambdascale.errors import ConfigError
from lambdascale.workload.observed import BIN_S, Lengths, Rates, observed
from lambdascale.workload.recipes import RECIPES, Recipe
from lambdascale.workload.trace import TraceRow


def generate(name: str, seed: int = 0) -> tuple[TraceRow, ...]:
    """Return the trace `name` for `seed`; ConfigError if there is no recipe of that name."""
    if name not in RECIPES:
        raise ConfigError(f"no trace {name!r} is generated; use one of {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    draw = Random(f"{name}/{seed}")  # a text seeds it the same in every process
    times = _arrivals(recipe, draw)
    lengths = observed()[recipe.lengths].lengths
    assert lengths is not None, "recipes name entries that have lengths"
    return tuple(
        TraceRow(int(1000 * time_s) / 1000, *pair)  # not rounded: it stays in its second
        for time_s, pair in zip(times, _lengths(lengths, draw), strict=False)
    )


def _arrivals(recipe: Recipe, draw: Random) -> list[float]:
    """Clustered points where requests are expected; so many per part if `totals` are known."""
    rates = observed()[recipe.rates].rates
    assert rates is not None, "recipes name entries that have rates"
    shape = 1 / rates.local_cv**2
    expected = _expected(recipe, rates, draw)
    if not recipe.totals:
        return _placed(expected, 0.0, _renewals(sum(expected), shape, draw))
    times: list[float] = []
    for i, total in enumerate(recipe.totals):
        begin = i * recipe.part_s
        part = expected[begin : begin + recipe.part_s]
        times += _placed(part, float(begin), _spacings(sum(part), total, shape, draw))
    return times


def _expected(recipe: Recipe, rates: Rates, draw: Random) -> list[float]:
    """Requests expected in each second."""
    num_bins = -int(-recipe.duration_s // BIN_S)
    profile = observed()[recipe.profile].hourly if recipe.profile else (1.0,)
    mean = sum(profile) / len(profile)
    seconds: list[float] = []
    for number, rate in enumerate(_bins(rates, num_bins, draw)):
        factor = profile[number * len(profile) // num_bins] / mean
        seconds += [rate * factor] * round(BIN_S)
    return seconds[: recipe.duration_s]


def _bins(rates: Rates, num_bins: int, draw: Random) -> Iterator[float]:
    """The rate in each bin: a walk over the states, and chance within a state."""
    states = range(len(rates.rates))
    (state,) = draw.choices(states, rates.occupancy)
    spread = rates.modulation
    for _ in range(num_bins):
        factor = draw.gammavariate(1 / spread, spread) if spread else 1.0
        yield rates.rates[state] * factor
        (state,) = draw.choices(states, rates.transition[state])


def _renewals(limit: float, shape: float, draw: Random) -> list[float]:
    """Points up to `limit` with gaps of mean 1; of a Poisson process if `shape` is 1, else clustered."""
    points, at = [], draw.gammavariate(shape, 1 / shape)
    while at < limit:
        points.append(at)
        at += draw.gammavariate(shape, 1 / shape)
    return points


def _spacings(limit: float, num: int, shape: float, draw: Random) -> list[float]:
    """`num` such points below `limit`."""
    *points, end = accumulate(draw.gammavariate(shape, 1.0) for _ in range(num + 1))
    return [limit * point / end for point in points]


def _placed(expected: Sequence[float], begin_s: float, points: Sequence[float]) -> list[float]:
    """Turn ascending points on the axis of expected requests into seconds."""
    sums = list(accumulate(expected))
    times = []
    for point in points:
        second = min(bisect_left(sums, point), len(sums) - 1)
        within = 1 - (sums[second] - point) / expected[second] if expected[second] else 0.0
        times.append(begin_s + second + within)
    return times


def _lengths(lengths: Lengths, draw: Random) -> Iterator[tuple[int, int]]:
    """Pairs whose ranks are correlated as observed: a Gaussian copula."""
    cdf, r = NormalDist().cdf, lengths.normal_correlation
    while True:
        first, second = draw.gauss(), draw.gauss()
        other = r * first + sqrt(1 - r**2) * second
        yield lengths.prompt.at(cdf(first)), lengths.output.at(cdf(other))
