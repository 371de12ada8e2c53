"""From the files that others published to our rows: one function per format, text in, rows out.

Times count from the beginning of the file or window, to the millisecond. Rows that were moved or damaged on
the way are not noticed here but by the checksum of the result.
"""

import csv
from collections.abc import Sequence
from datetime import datetime
from io import StringIO

import numpy as np

from lambdascale.errors import ConfigError
from lambdascale.workload.trace import TraceRow

GRAFT_SEED = 20250213  # which lengths the arrivals of trace 0 are given, here and in the mirror
BIN_S = 10.0  # of the rates in Burst.txt; inferred, since the file does not say
WINDOW_S = 1800.0


def azure(model: str, begin_s: float, text: str) -> tuple[TraceRow, ...]:
    """Return the WINDOW_S from `begin_s` on of an Azure trace: TIMESTAMP, ContextTokens, GeneratedTokens."""
    records = _records(text, "TIMESTAMP", "ContextTokens", "GeneratedTokens")
    times = [datetime.fromisoformat(time[:26]) for time, _, _ in records]  # their 7th digit is 0
    since = [(time - times[0]).total_seconds() - begin_s for time in times]
    return tuple(
        TraceRow(float(f"{time_s:.3f}"), int(prompt), int(output), model)
        for time_s, (_, prompt, output) in zip(since, records, strict=True)
        if 0 <= time_s < WINDOW_S
    )


def burstgpt(num_rows: int, text: str) -> tuple[TraceRow, ...]:
    """Return the requests of the first `num_rows` of a BurstGPT file that did not fail."""
    fields = ("Timestamp", "Model", "Request tokens", "Response tokens")
    records = _records(text, *fields)[:num_rows]
    begin_s = float(records[0][0])
    return tuple(
        TraceRow(float(time) - begin_s, int(prompt), int(output), model.lower())
        for time, model, prompt, output in records
        if int(output) > 0
    )


def trace0(arrivals: str, conversations: str) -> tuple[TraceRow, ...]:
    """Return the authors' arrivals, one a line, with lengths drawn from the Azure conversations."""
    times = [float(line) for line in arrivals.split()]
    lengths = _records(conversations, "ContextTokens", "GeneratedTokens")
    drawn = np.random.default_rng(GRAFT_SEED).integers(0, len(lengths), len(times))
    return tuple(
        TraceRow(time_s, int(lengths[i][0]), int(lengths[i][1]))
        for time_s, i in zip(times, drawn, strict=True)
    )


def rates(first: int, last: int, values: str, requests: str) -> tuple[TraceRow, ...]:
    """Return requests for the lines `first` to `last` of requests per second, one a line.

    Where they lie in their BIN_S, and their lengths, are drawn: those of the BurstGPT file `requests`.
    """
    draw = np.random.default_rng(GRAFT_SEED)
    counts = [round(BIN_S * float(value)) for value in values.split()[first - 1 : last]]
    times = [
        BIN_S * number + BIN_S * time
        for number, count in enumerate(counts)
        for time in np.sort(draw.random(count))
    ]
    lengths = [(row.prompt_tokens, row.output_tokens) for row in burstgpt(400, requests)]
    drawn = draw.integers(0, len(lengths), len(times))
    return tuple(
        TraceRow(float(np.floor(1000 * time_s) / 1000), *lengths[i])
        for time_s, i in zip(times, drawn, strict=True)
    )


def _records(text: str, *columns: str) -> Sequence[tuple[str, ...]]:
    """The named columns of a CSV text."""
    reader = csv.DictReader(StringIO(text))
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise ConfigError(f"the file has no column {missing[0]}; it is not what was expected")
    return [tuple(record[name] for name in columns) for record in reader]
