"""Traces: read as they are, or refused in one line that says where the mistake is and what to do."""

import reprlib
from pathlib import Path

import pytest

from lambdascale.errors import ConfigError
from lambdascale.workload.trace import HEADER, TraceRow, find_trace, read_trace

HEAD = ",".join(HEADER)
GOOD = "0.5,12,3,llama-2-7b"


@pytest.fixture
def trace(tmp_path: Path):
    """Write the lines of a trace, and return its path."""

    def write(*lines: str) -> Path:
        path = tmp_path / "trace.csv"
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write


def refused(path: Path) -> str:
    """Read a trace that must be refused; return the complaint without the file's name."""
    with pytest.raises(ConfigError) as error:
        read_trace(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message.replace(str(path), "trace.csv")


def test_rows_are_read_in_order_and_models_may_be_empty(trace):
    path = trace(HEAD, GOOD, "0.5,1,1,", "7,400,20,gpt-4")
    assert read_trace(path) == (
        TraceRow(0.5, 12, 3, "llama-2-7b"),
        TraceRow(0.5, 1, 1, ""),
        TraceRow(7.0, 400, 20, "gpt-4"),
    )


def test_what_spreadsheets_write_is_read_too(tmp_path: Path):
    path = tmp_path / "trace.csv"
    path.write_bytes(f'\ufeff{HEAD}\r\n 0.5 , 12,3,"a, b"\r\n\r\n'.encode())
    assert read_trace(path) == (TraceRow(0.5, 12, 3, "a, b"),)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("soon,12,3,m", "arrival_s is 'soon'; give a number of seconds"),
        (",12,3,m", "arrival_s is ''; give a number of seconds"),
        ("1_000,12,3,m", "arrival_s is '1_000'; give a number of seconds"),
        ("nan,12,3,m", "arrival_s is nan; give finite seconds of at least 0"),
        ("inf,12,3,m", "arrival_s is inf; give finite seconds of at least 0"),
        ("1e999,12,3,m", "arrival_s is inf; give finite seconds of at least 0"),
        ("-0.1,12,3,m", "arrival_s is -0.1; give finite seconds of at least 0"),
        ("0.6,many,3,m", "prompt_tokens is 'many'; give a whole number of tokens"),
        ("0.6,12.5,3,m", "prompt_tokens is '12.5'; give a whole number of tokens"),
        ("0.6,nan,3,m", "prompt_tokens is 'nan'; give a whole number of tokens"),
        ("0.6,١٢,3,m", "prompt_tokens is '١٢'; give a whole number of tokens"),
        ("0.6,0,3,m", "prompt_tokens is 0; give at least 1 token"),
        ("0.6,12,0,m", "output_tokens is 0; give at least 1 token"),
        ("0.6,12,-3,m", "output_tokens is -3; give at least 1 token"),
        ("0.6,12,3", f"it has 3 fields ('0.6,12,3'); write the 4 of {HEAD}"),
        ("0.6,12,3,m,n", f"it has 5 fields ('0.6,12,3,m,n'); write the 4 of {HEAD}"),
        (
            "0.4,12,3,m",
            "arrival_s is 0.4, but the request before came at 0.5; sort the file by arrival_s",
        ),
    ],
)
def test_a_bad_row_is_refused_by_its_line_and_field(trace, bad: str, complaint: str):
    assert refused(trace(HEAD, "", GOOD, bad, GOOD)) == f"trace.csv, line 4: {complaint}"


@pytest.mark.parametrize("header", [GOOD, "arrival_s,prompt_tokens,output_tokens", HEAD.upper()])
def test_another_header_is_refused(trace, header: str):
    assert refused(trace(header, GOOD)) == (
        f"trace.csv, line 1: the header is {reprlib.repr(header)}; write {HEAD}"
    )


def test_a_file_without_requests_is_refused(trace):
    assert refused(trace()) == f"trace.csv is empty; write {HEAD} and then one request a line"
    assert refused(trace("", " ")).startswith("trace.csv is empty")
    complaint = "trace.csv has a header but no requests; write one a line below it"
    assert refused(trace(HEAD)) == complaint


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    reason = "; name a readable CSV file"
    assert refused(tmp_path / "none.csv").endswith(f"(No such file or directory){reason}")
    assert refused(tmp_path).endswith(f"(Is a directory){reason}")


def test_a_file_of_other_bytes_is_refused_where_they_begin(tmp_path: Path):
    path = tmp_path / "trace.csv"
    path.write_bytes(f"{HEAD}\n{GOOD}\n0.6,12,3,".encode() + b"caf\xe9\n")
    expected = "trace.csv, line 3: byte 0xe9 is not UTF-8; save the file as UTF-8"
    assert refused(path) == expected


def test_a_quote_that_never_ends_is_refused_where_it_begins(trace):
    complaint = refused(trace(HEAD, GOOD, '0.6,12,3,"m', GOOD))
    assert complaint.startswith("trace.csv, line 3: it is not CSV (")


def test_lines_are_counted_as_an_editor_does_even_below_a_quoted_line_break(trace):
    complaint = refused(trace(HEAD, '0.5,12,3,"two\nlines"', "0.6,12,x,m"))
    assert complaint.startswith("trace.csv, line 4: output_tokens is 'x'")


def test_a_long_field_is_shortened_in_the_complaint(trace):
    assert len(refused(trace(HEAD, f"{'9' * 5000}x,12,3,m"))) < 150
    assert len(refused(trace(HEAD, f"0.5,{'9' * 5000},3,m"))) < 150


def test_a_trace_is_found_in_the_folder_that_is_named_and_nowhere_else(tmp_path: Path):
    path = tmp_path / "burst.csv"
    path.touch()
    assert find_trace("burst", tmp_path) == find_trace("burst", str(tmp_path)) == path
    assert find_trace("other", tmp_path) is None
    assert find_trace("burst", "") is None


def test_the_example_of_the_readme_can_be_read():
    rows = read_trace(Path(__file__).parent.parent / "traces" / "example.csv")
    assert len(rows) == 48
    assert max(row.prompt_tokens for row in rows) <= 48
