"""Fetching a trace of the catalogue: download, convert, check, keep.

Nothing here runs unless it is asked for by name. What is kept is the project's own CSV; the upstream file
is not. Every error is one line with the way out: the generated trace, or the folder to put the file into.
"""

import csv
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from lambdascale.errors import ConfigError
from lambdascale.model.cache import write_whole
from lambdascale.workload.catalogue import CATALOGUE, Trace
from lambdascale.workload.trace import HEADER, TraceRow

TIMEOUT_S = 60.0

Download = Callable[[str], bytes]  # the bytes at an address; raises OSError


def download(address: str) -> bytes:
    """Return the bytes at `address`; raises OSError."""
    with urlopen(address, timeout=TIMEOUT_S) as answer:
        data = answer.read()
    assert isinstance(data, bytes)
    return data


def fetch(name: str, folder: Path, download: Download = download) -> Path:
    """Download a trace of the catalogue, convert it, and return its file in `folder`.

    Raises ConfigError if that is not possible, or if what was downloaded is not the trace.
    """
    trace = CATALOGUE[name]
    try:
        texts = [download(source.address).decode("utf-8-sig") for source in trace.sources]
    except OSError as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise ConfigError(f"cannot download {name} ({reason}); {ways_out(name, folder)}") from error
    rows = _converted(name, trace, texts, folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    write_whole(path, csv_of(rows).encode())
    return path


def ways_out(name: str, folder: Path) -> str:
    """Say what to do without a trace."""
    return f"use the generated {CATALOGUE[name].like}, or put {name}.csv into {folder}"


def csv_of(rows: tuple[TraceRow, ...]) -> str:
    """Return rows as the text of a trace file."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(
        (f"{row.arrival_s:.3f}", row.prompt_tokens, row.output_tokens, row.model) for row in rows
    )
    return text.getvalue()


def _converted(name: str, trace: Trace, texts: list[str], folder: Path) -> tuple[TraceRow, ...]:
    try:
        rows = trace.convert(*texts)
    except (ValueError, IndexError, ConfigError) as error:
        raise ConfigError(
            f"cannot convert what was downloaded for {name} ({error}); {ways_out(name, folder)}"
        ) from error
    if not trace.matches(rows):
        raise ConfigError(
            f"what was downloaded for {name} is not the trace of the catalogue ({len(rows)} requests of "
            f"{trace.num_rows}, or another checksum); {ways_out(name, folder)}"
        )
    return rows
