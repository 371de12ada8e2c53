"""Real traces: converted from what others published, checked, kept, found again; without them, one line.

The conversions are tested on small made-up files, and on upstream files made backwards from the real traces
where LAMBDASCALE_TRACES names a folder that has them.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lambdascale.errors import ConfigError
from lambdascale.workload import catalogue, fetch, named, upstream
from lambdascale.workload.catalogue import CATALOGUE
from lambdascale.workload.observed import counts_of, observed
from lambdascale.workload.recipes import RECIPES
from lambdascale.workload.trace import TraceRow, find_trace, read_trace

BEGIN = datetime(2023, 11, 16, 18, 15, 46, 680590)
AZURE_HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURSTGPT_HEAD = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
CONV = AZURE_HEAD + "".join(f"{BEGIN},{i + 1},{i + 2}\n" for i in range(9))
BURSTGPT = BURSTGPT_HEAD + (
    "5,ChatGPT,472,18,490,Conversation log\n"
    "45,GPT-4,0,0,0,Conversation log\n"
    "45,GPT-4,1087,230,1317,API log\n"
    "118,ChatGPT,4,2,6,Conversation log\n"
)


def azure_line(since_s: float, prompt: int, output: int) -> str:
    stamp = BEGIN + timedelta(seconds=since_s)
    return f"{stamp:%Y-%m-%d %H:%M:%S.%f}0,{prompt},{output}\n"


def mirrored(name: str) -> tuple[TraceRow, ...]:
    """A real trace, if there is one here."""
    path = find_trace(name, os.environ.get("LAMBDASCALE_TRACES", ""))
    if path is None:
        pytest.skip(f"LAMBDASCALE_TRACES names no folder with {name}.csv")
    return read_trace(path)


def sha256_of(rows: tuple[TraceRow, ...]) -> str:
    return hashlib.sha256(fetch.csv_of(rows).encode()).hexdigest()


def test_azure_rows_are_those_of_the_window_and_count_from_its_beginning():
    text = AZURE_HEAD + azure_line(0, 1, 2) + azure_line(100.0004, 3, 4) + azure_line(1900, 5, 6)
    assert upstream.azure("conv", 100.0, text) == (TraceRow(0.0, 3, 4, "conv"),)
    assert [row.prompt_tokens for row in upstream.azure("conv", 0.0, text)] == [1, 3]


def test_burstgpt_rows_that_failed_are_left_out():
    assert upstream.burstgpt(3, BURSTGPT) == (
        TraceRow(0.0, 472, 18, "chatgpt"),
        TraceRow(40.0, 1087, 230, "gpt-4"),
    )


def test_arrivals_get_lengths_of_the_conversations_and_always_the_same():
    rows = upstream.trace0("0.0\n0.36\n19.162\n", CONV)
    assert [row.arrival_s for row in rows] == [0.0, 0.36, 19.162]
    assert all(row.output_tokens == row.prompt_tokens + 1 <= 10 for row in rows)
    assert rows == upstream.trace0("0.0\n0.36\n19.162\n", CONV)


def test_rates_become_as_many_requests_in_each_ten_seconds():
    rows = upstream.rates(2, 4, "9\n0.3\n0\n1.20000000000000\n9", BURSTGPT)
    assert counts_of([row.arrival_s for row in rows], 10.0, 30.0) == (3, 0, 12)
    assert {(r.prompt_tokens, r.output_tokens) for r in rows} <= {(472, 18), (1087, 230), (4, 2)}


@pytest.mark.parametrize("name", ["azure_conv_30min", "azure_code_30min_spiky"])
def test_the_real_azure_traces_are_converted_to_the_byte(name: str):
    begin_s = 1650.0 if "conv" in name else 0.0
    rows = mirrored(name)
    first = [azure_line(0.0, 1, 1)] if begin_s else []
    lines = [azure_line(begin_s + r.arrival_s, r.prompt_tokens, r.output_tokens) for r in rows]
    found = CATALOGUE[name].convert(AZURE_HEAD + "".join([*first, *lines, azure_line(9e3, 1, 1)]))
    assert sha256_of(found) == CATALOGUE[name].sha256


def burstgpt_text() -> str:
    rows = mirrored("burstgpt_head_10h")
    names = {"chatgpt": "ChatGPT", "gpt-4": "GPT-4"}
    lines = [
        f"{row.arrival_s + 5:.0f},{names[row.model]},{row.prompt_tokens},{row.output_tokens},0,log\n"
        for row in rows
    ]
    return BURSTGPT_HEAD + "".join([*lines[:9], "535,GPT-4,0,0,0,log\n", *lines[9:]])


def test_the_real_burstgpt_head_is_converted_to_the_byte():
    trace = CATALOGUE["burstgpt_head_10h"]
    assert sha256_of(trace.convert(burstgpt_text())) == trace.sha256


def test_the_real_rates_are_converted_to_as_many_requests():
    trace = CATALOGUE["lambdascale_burst_30min_spiky"]
    real = mirrored("lambdascale_burst_30min_spiky")
    counts = counts_of([row.arrival_s for row in real], 10.0, 1800.0)
    values = "0\n" * 414 + "\n".join(str(count / 10) for count in counts)
    assert trace.matches(trace.convert(values, burstgpt_text()))


def test_the_real_snippet_gets_the_lengths_it_has_in_the_mirror():
    """Of the 19,366 conversations the mirror has rows 8925 to 19217: those drawn from them are compared."""
    real, known = mirrored("lambdascale_trace0_30min"), mirrored("azure_conv_30min")
    lines = ["x,1,1\n"] * 19_366
    lines[8924:19_217] = [f"x,{row.prompt_tokens},{row.output_tokens}\n" for row in known]
    found = upstream.trace0(
        "\n".join(f"{row.arrival_s}" for row in real), AZURE_HEAD + "".join(lines)
    )
    assert [row.arrival_s for row in found] == [row.arrival_s for row in real]
    compared = [pair for pair in zip(found, real, strict=True) if pair[0].output_tokens > 1]
    assert len(compared) > 250
    assert all(one == other for one, other in compared)


@pytest.mark.parametrize(("size", "model"), [(s, f"llama-2-{s}") for s in ("7b", "13b", "70b")])
def test_the_real_replays_are_the_snippet_as_the_authors_send_it(size: str, model: str):
    from lambdascale.workload.authors import as_sent

    trace = CATALOGUE[f"lambdascale_trace0_replay_{size}"]
    assert sha256_of(as_sent(mirrored("lambdascale_trace0_30min"), model)) == trace.sha256


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_real_trace_is_the_one_of_the_catalogue(name: str):
    rows = mirrored(name)
    assert CATALOGUE[name].matches(rows)
    assert sha256_of(rows) == CATALOGUE[name].sha256


@pytest.mark.parametrize(("name", "like"), [(n, r.like) for n, r in RECIPES.items() if r.like])
def test_the_counts_that_figure_1_shows_are_those_of_the_real_trace(name: str, like: str):
    counts = observed()[RECIPES[name].rates].counts_10s
    times = [row.arrival_s for row in mirrored(like)]
    assert np.abs(np.subtract(counts_of(times, 10.0, 10.0 * len(counts)), counts)).sum() <= 20


def test_every_entry_says_where_it_comes_from():
    for trace in CATALOGUE.values():
        assert all(len(source.commit) == 40 for source in trace.sources)
        assert trace.licence.startswith(("CC-BY-4.0", "MIT"))
        assert trace.like in RECIPES
    address = CATALOGUE["azure_conv_30min"].sources[0].address
    assert address.startswith("https://raw.githubusercontent.com/Azure/AzurePublicDataset/b469a1")


@pytest.fixture
def tiny_trace(monkeypatch: pytest.MonkeyPatch) -> str:
    """A catalogue with one trace of two requests more."""
    rows = upstream.burstgpt(3, BURSTGPT)
    trace = replace(CATALOGUE["burstgpt_head_10h"], num_rows=2, digest=catalogue.digest(rows, 1.0))
    monkeypatch.setitem(
        CATALOGUE, "tiny", replace(trace, convert=lambda t: upstream.burstgpt(3, t))
    )
    return "tiny"


def test_a_fetched_trace_is_found_by_its_name(tiny_trace: str, tmp_path: Path):
    asked: list[str] = []

    def download(address: str) -> bytes:
        asked.append(address)
        return BURSTGPT.encode()

    path = fetch.fetch(tiny_trace, tmp_path / "traces", download)
    assert asked == [CATALOGUE[tiny_trace].sources[0].address]
    rows = named.load_trace(tiny_trace, folders=(tmp_path, path.parent))
    assert rows == upstream.burstgpt(3, BURSTGPT)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            BURSTGPT.replace("472", "473"),
            r"is not the trace of the catalogue \(2 requests of 2, or",
        ),
        (BURSTGPT_HEAD, "cannot convert what was downloaded"),
        ("<html>", "the file has no column Timestamp"),
        (BURSTGPT.replace("5,Chat", "five,Chat"), "cannot convert what was downloaded"),
    ],
)
def test_what_is_not_the_trace_is_not_kept(
    tiny_trace: str, tmp_path: Path, text: str, complaint: str
):
    with pytest.raises(ConfigError, match=complaint) as error:
        fetch.fetch(tiny_trace, tmp_path, lambda _: text.encode())
    assert "use the generated burstgpt-like, or put tiny.csv into" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_without_a_network_there_is_one_line_with_the_ways_out(tiny_trace: str, tmp_path: Path):
    def offline(address: str) -> bytes:
        raise OSError("Network is unreachable")

    with pytest.raises(ConfigError, match=r"cannot download tiny \(Network is unreachable\); use"):
        fetch.fetch(tiny_trace, tmp_path, offline)


@pytest.fixture
def server() -> Iterator[str]:
    """A server on this host that has one file; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/file"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(b"contents" if found else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_a_download_gives_bytes_or_an_os_error(server: str):
    assert fetch.download(f"{server}/file") == b"contents"
    with pytest.raises(OSError, match="404"):
        fetch.download(f"{server}/other")


def test_a_trace_is_named_or_a_file(tmp_path: Path):
    path = tmp_path / "mine.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens,model\n0,1,2,\n", encoding="utf-8")
    assert named.load_trace(str(path)) == (TraceRow(0.0, 1, 2),)
    assert len(named.load_trace("burstgpt-like", seed=4)) == 498
    with pytest.raises(ConfigError, match="trace 'mine' is unknown; use one of burstgpt-like"):
        named.load_trace("mine")
    with pytest.raises(ConfigError, match=r"run `lambdascale fetch --trace azure_conv_30min`, use"):
        named.load_trace("azure_conv_30min", folders=(tmp_path,))


def test_a_file_that_has_the_name_but_is_another_trace_is_refused(tmp_path: Path):
    (tmp_path / "azure_conv_30min.csv").write_text(
        "arrival_s,prompt_tokens,output_tokens,model\n0,1,2,\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="is not the trace of the catalogue"):
        named.load_trace("azure_conv_30min", folders=(tmp_path,))


def test_traces_are_looked_for_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("LAMBDASCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAMBDASCALE_TRACES", raising=False)
    assert named.default_folders() == (tmp_path / "cache" / "traces",)
    monkeypatch.setenv("LAMBDASCALE_TRACES", str(tmp_path))
    assert named.default_folders() == (tmp_path, tmp_path / "cache" / "traces")


def test_only_real_traces_can_be_fetched():
    with pytest.raises(ConfigError, match="is generated when it is used"):
        named.check_real("day-like")
    with pytest.raises(ConfigError, match="trace 'x' is unknown; use one of azure_conv_30min"):
        named.check_real("x")
