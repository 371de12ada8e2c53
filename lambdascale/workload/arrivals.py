"""Made-up workloads: Poisson arrivals per model, and the arrivals of a trace spread over many models.

Pure functions of a seed. Popularity is Zipf-like: of n models the r-th has a share proportional to
1 / r^exponent; exponent 0 makes all equal. Models are drawn independently for each request, so every
model sees the bursts of the whole trace in proportion; tenants with bursts of their own are burstier.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from lambdascale.errors import ConfigError
from lambdascale.workload.trace import TraceRow

ZIPF_EXPONENT = 1.0


def poisson(
    models: Sequence[str],
    rate: float,
    duration_s: float,
    seed: int,
    prompt_tokens: int = 1,
    output_tokens: int = 1,
) -> tuple[TraceRow, ...]:
    """Return requests of every model at `rate` per second each, independent of one another.

    A model's arrivals depend on the seed and its name alone, not on which others there are.
    """
    _check_models(models)
    if not 0 < rate < math.inf or not 0 < duration_s < math.inf:
        raise ConfigError(
            f"rate is {rate} and duration_s {duration_s}; both must be finite, above 0"
        )
    rows = [
        TraceRow(arrival_s, prompt_tokens, output_tokens, model)
        for model in models
        for arrival_s in _arrivals(rate, duration_s, Random(f"{seed}/{model}"))
    ]
    return tuple(sorted(rows, key=lambda row: row.arrival_s))


def popularity(num_models: int, exponent: float = ZIPF_EXPONENT) -> tuple[float, ...]:
    """Return each model's share of the requests, the most popular first.

    >>> [round(share, 2) for share in popularity(3)]
    [0.55, 0.27, 0.18]
    """
    if num_models < 1 or not 0 <= exponent < math.inf:
        raise ConfigError(
            f"num_models is {num_models} and exponent {exponent}; give at least 1 model and an exponent "
            "of at least 0"
        )
    weights = [rank**-exponent for rank in range(1, num_models + 1)]
    return tuple(weight / sum(weights) for weight in weights)


def spread(
    rows: Sequence[TraceRow], models: Sequence[str], seed: int, exponent: float = ZIPF_EXPONENT
) -> tuple[TraceRow, ...]:
    """Return the same requests for `models`, the first of them the most popular."""
    _check_models(models)
    shares = popularity(len(models), exponent)
    drawn = Random(seed).choices(models, shares, k=len(rows))
    return tuple(replace(row, model=model) for row, model in zip(rows, drawn, strict=True))


def _arrivals(rate: float, duration_s: float, draw: Random) -> Iterator[float]:
    time_s = draw.expovariate(rate)
    while time_s < duration_s:
        yield time_s
        time_s += draw.expovariate(rate)


def _check_models(models: Sequence[str]) -> None:
    if not models or len(set(models)) < len(models):
        raise ConfigError(f"models is {list(models)}; name at least one, and each only once")
