"""Request traces: when requests arrived, how long they were, and which model they were for.

A trace is a CSV file with the header of `HEADER`; `model` may be empty. Arrivals ascend: a file out of
order is refused and not sorted, since rows that moved are more likely a mistake than a wish. Whatever is
wrong is one ConfigError with the file, the line as an editor counts it, the field and what to do.
"""

import csv
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from reprlib import repr as shown  # of a value that may be long

import msgspec

from lambdascale.errors import ConfigError

HEADER = ("arrival_s", "prompt_tokens", "output_tokens", "model")

Line = tuple[int, list[str]]  # number of the line where it begins, its fields


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request of a trace; `arrival_s` counts from the trace's beginning. Raises ConfigError."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    model: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.arrival_s < math.inf:
            raise ConfigError(f"arrival_s is {self.arrival_s}; give finite seconds of at least 0")
        for name in ("prompt_tokens", "output_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least 1 token")


def digest_of(rows: Sequence[TraceRow]) -> str:
    """Return a short name of a trace, which changes whenever a row does."""
    return hashlib.sha256(msgspec.json.encode(rows)).hexdigest()[:12]


def read_trace(path: Path) -> tuple[TraceRow, ...]:
    """Return the rows of a trace in order; raises ConfigError."""
    numbered = list(_lines(path, _text(path)))
    if not numbered:
        raise ConfigError(f"{path} is empty; write {','.join(HEADER)} and then one request a line")
    _check_header(path, *numbered[0])
    rows = [(line, _row(path, line, fields)) for line, fields in numbered[1:]]
    if not rows:
        raise ConfigError(f"{path} has a header but no requests; write one a line below it")
    _check_order(path, rows)
    return tuple(row for _, row in rows)


def find_trace(name: str, folder: str | Path) -> Path | None:
    """Return the file `name`.csv in `folder`; None if there is none, or no folder is given (empty text)."""
    path = Path(folder) / f"{name}.csv"
    return path if str(folder) and path.is_file() else None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the trace {path} ({error.strerror}); name a readable CSV file"
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x}"
        raise _wrong(path, line, f"{byte} is not UTF-8; save the file as UTF-8") from error


def _lines(path: Path, text: str) -> Iterator[Line]:
    """Yield the lines that are not blank."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _wrong(path, line, f"it is not CSV ({error}); write no quotes") from error
        if any(field.strip() for field in fields):
            yield line, [field.strip() for field in fields]


def _check_header(path: Path, line: int, fields: list[str]) -> None:
    if tuple(fields) != HEADER:
        header = shown(",".join(fields))
        raise _wrong(path, line, f"the header is {header}; write {','.join(HEADER)}")


def _row(path: Path, line: int, fields: list[str]) -> TraceRow:
    if len(fields) != len(HEADER):
        what = f"it has {len(fields)} fields ({shown(','.join(fields))})"
        raise _wrong(path, line, f"{what}; write the {len(HEADER)} of {','.join(HEADER)}")
    arrival, prompt, output, model = fields
    try:
        return TraceRow(
            _seconds(arrival), _count(HEADER[1], prompt), _count(HEADER[2], output), model
        )
    except ConfigError as error:
        raise _wrong(path, line, str(error)) from error


def _seconds(text: str) -> float:
    try:
        return float(_plain(text))
    except ValueError as error:
        raise ConfigError(f"arrival_s is {shown(text)}; give a number of seconds") from error


def _count(name: str, text: str) -> int:
    try:
        return int(_plain(text))
    except ValueError as error:
        raise ConfigError(f"{name} is {shown(text)}; give a whole number of tokens") from error


def _plain(text: str) -> str:
    """Refuse what only Python takes for a number: 1_000, or digits of other scripts."""
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return text


def _check_order(path: Path, rows: Iterable[tuple[int, TraceRow]]) -> None:
    for (_, before), (line, row) in pairwise(rows):
        if row.arrival_s < before.arrival_s:
            what = (
                f"arrival_s is {row.arrival_s}, but the request before came at {before.arrival_s}"
            )
            raise _wrong(path, line, f"{what}; sort the file by arrival_s")


def _wrong(path: Path, line: int, what: str) -> ConfigError:
    return ConfigError(f"{path}, line {line}: {what}")
