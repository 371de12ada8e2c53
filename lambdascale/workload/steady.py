"""Arrivals of the microbenchmarks: at a constant rate, or all at once (paper.md 6.3).

All requests are alike; unless other lengths are given they are the authors'.
"""

import math

from lambdascale.errors import ConfigError
from lambdascale.workload.authors import OUTPUT_TOKENS, PROMPT_TOKENS
from lambdascale.workload.trace import TraceRow


def constant(
    num: int,
    rate: float,
    model: str = "",
    prompt_tokens: int = PROMPT_TOKENS,
    output_tokens: int = OUTPUT_TOKENS,
) -> tuple[TraceRow, ...]:
    """Return `num` requests, the first at 0 and then `rate` per second; raises ConfigError.

    >>> [row.arrival_s for row in constant(3, rate=2.0)]
    [0.0, 0.5, 1.0]
    """
    if num < 1 or not rate > 0:
        raise ConfigError(f"num is {num} and rate {rate}; give at least 1 and a rate above 0")
    times = [number / rate for number in range(num)]
    return tuple(TraceRow(time_s, prompt_tokens, output_tokens, model) for time_s in times)


def at_once(
    num: int,
    model: str = "",
    prompt_tokens: int = PROMPT_TOKENS,
    output_tokens: int = OUTPUT_TOKENS,
) -> tuple[TraceRow, ...]:
    """Return `num` requests that all arrive at 0; raises ConfigError."""
    return constant(num, math.inf, model, prompt_tokens, output_tokens)
