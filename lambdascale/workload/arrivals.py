"""Made-up workloads: steady and bursty arrivals per model, and those of a trace spread over many models.

Pure functions of a seed. Popularity is Zipf-like: of n models the r-th has a share proportional to
1 / r^exponent; exponent 0 makes all equal. Models are drawn independently for each request, so every
model sees the bursts of the whole trace in proportion; tenants with bursts of their own are burstier.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    _check_rate(models, rate, duration_s)
    return _rows(
        {m: _arrivals(rate, duration_s, Random(f"{seed}/{m}")) for m in models},
        prompt_tokens,
        output_tokens,
    )


@dataclass(frozen=True, slots=True)
class Bursts:
    """A burst lasts `burst_s` on average, and bursts take `share` of the time; in one, requests come `surge`
    times as fast as between them. Raises ConfigError.
    """

    surge: float = 10.0
    burst_s: float = 30.0
    share: float = 0.1

    def __post_init__(self) -> None:
        if not (1 <= self.surge < math.inf and 0 < self.burst_s < math.inf and 0 < self.share < 1):
            raise ConfigError(
                f"surge is {self.surge}, burst_s {self.burst_s} and share {self.share}; give a surge of at "
                "least 1, seconds above 0 and a share between 0 and 1"
            )


def bursty(
    models: Sequence[str],
    rate: float,
    duration_s: float,
    seed: int,
    bursts: Bursts,
    prompt_tokens: int = 1,
    output_tokens: int = 1,
) -> tuple[TraceRow, ...]:
    """Return requests of every model at `rate` per second on average, each with bursts of its own.

    A burst, and the calm between two, have exponential lengths.
    """
    _check_rate(models, rate, duration_s)
    return _rows(
        {m: _modulated(rate, duration_s, bursts, Random(f"{seed}/{m}")) for m in models},
        prompt_tokens,
        output_tokens,
    )


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


def _modulated(rate: float, duration_s: float, bursts: Bursts, draw: Random) -> Iterator[float]:
    """Calm and bursts in turns; a Poisson process may begin anew at any time."""
    calm = rate / (1 - bursts.share + bursts.share * bursts.surge)
    rates = (calm, bursts.surge * calm)
    lengths = (bursts.burst_s * (1 - bursts.share) / bursts.share, bursts.burst_s)
    time_s, burst = 0.0, 0
    while time_s < duration_s:
        end_s = time_s + draw.expovariate(1 / lengths[burst])
        for arrival_s in _arrivals(rates[burst], min(end_s, duration_s) - time_s, draw):
            yield time_s + arrival_s
        time_s, burst = end_s, 1 - burst


def _rows(
    arrivals: Mapping[str, Iterator[float]], prompt_tokens: int, output_tokens: int
) -> tuple[TraceRow, ...]:
    rows = [
        TraceRow(arrival_s, prompt_tokens, output_tokens, model)
        for model, times in arrivals.items()
        for arrival_s in times
    ]
    return tuple(sorted(rows, key=lambda row: row.arrival_s))


def _check_rate(models: Sequence[str], rate: float, duration_s: float) -> None:
    _check_models(models)
    if not 0 < rate < math.inf or not 0 < duration_s < math.inf:
        raise ConfigError(
            f"rate is {rate} and duration_s {duration_s}; both must be finite, above 0"
        )


def _check_models(models: Sequence[str]) -> None:
    if not models or len(set(models)) < len(models):
        raise ConfigError(f"models is {list(models)}; name at least one, and each only once")
