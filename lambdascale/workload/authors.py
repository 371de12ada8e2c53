"""The authors' workloads as data: what a request is, and how their sender replays a trace (paper.md 6.3).

Every request of theirs is one batch of four fixed prompts, whose lengths no trace changes: decoding starts at
the shortest prompt, of 8 tokens, and takes 107 steps. The sender reads whole seconds, divides every gap
by a number that depends on the model, and never sends the last request. The paper's axis is
30 minutes all the same; say which of the two a result is for.
"""

from collections.abc import Sequence
from dataclasses import replace

from lambdascale.errors import ConfigError
from lambdascale.workload.replay import Replay
from lambdascale.workload.trace import TraceRow

PROMPT_TOKENS, OUTPUT_TOKENS, BATCH = 8, 107, 4
COMPRESSION = {"llama-2-7b": 6.0, "llama-2-13b": 3.0, "llama-2-70b": 1.5}


def replay(model: str = "") -> Replay:
    """Return the replay that gives each request of a trace the authors' lengths; see `Replay` for `model`."""
    return Replay(
        speedup=1.0,
        max_prompt=PROMPT_TOKENS,
        max_output=OUTPUT_TOKENS,
        model=model,
        prompt_tokens=PROMPT_TOKENS,
        output_tokens=OUTPUT_TOKENS,
    )


def as_sent(rows: Sequence[TraceRow], model: str) -> tuple[TraceRow, ...]:
    """Return a trace as the authors' sender replays it for `model`; ConfigError for other models.

    >>> rows = [TraceRow(0.0, 1, 1), TraceRow(19.162, 1, 1), TraceRow(20.3, 1, 1)]
    >>> [row.arrival_s for row in as_sent(rows, "llama-2-13b")]
    [0.0, 6.333]
    """
    if model not in COMPRESSION:
        known = ", ".join(COMPRESSION)
        raise ConfigError(f"the authors replay no trace for model {model!r}; use one of {known}")
    times = [round(int(row.arrival_s) / COMPRESSION[model], 3) for row in rows]
    return tuple(
        replace(row, arrival_s=time_s, model=model)
        for row, time_s in zip(rows[:-1], times[:-1], strict=True)
    )
