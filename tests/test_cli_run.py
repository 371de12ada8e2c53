"""`lambdascale run`: a trace in, decisions and latencies out; what cannot work is said in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import TinyModel

from lambdascale.__main__ import main

HEADER = "arrival_s,prompt_tokens,output_tokens,model\n"
DEVICE = ("--device-gbytes", "0.05", "--device-tflops", "1")
RATES = ("--link-gbps", "0.02", "--pcie-gbps", "0.04", "--ssd-gbps", "0.01")


def write_trace(folder: Path, *lines: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(HEADER + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def run(*arguments: object) -> int:
    return main(["run", *map(str, arguments)])


def test_a_simulated_run_prints_its_decisions_and_latencies(
    tiny_model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    trace = write_trace(tmp_path, *(f"{0.05 * i},{5 + i},40," for i in range(20)))
    chrome, out = tmp_path / "chrome.json", tmp_path / "out"
    status = run(
        "--simulate", "--model", tiny_model("llama"), "--trace", trace, *DEVICE, *RATES,
        "--chrome-trace", chrome, "--out", out,
    )  # fmt: skip
    assert status == 0
    text = capsys.readouterr().out
    assert "all 20 requests" in text
    assert "20 of 20 answers cut to 32 tokens" in text
    for word in ("p50 [s]", "p90 [s]", "p99 [s]", "tokens/s", "GPU-s", "20/20", "1 ssd"):
        assert word in text
    assert "these figures are simulated" in text
    assert json.loads(chrome.read_text(encoding="utf-8"))["traceEvents"]
    assert (out / "manifest.json").is_file()


def test_a_generated_trace_is_replayed_by_name_with_fixed_lengths_and_more_requests(
    tiny_model: TinyModel, capsys: pytest.CaptureFixture[str]
):
    status = run(
        "--simulate", "--model", tiny_model("llama"), "--trace", "burstgpt-like", "--limit", "30",
        "--prompt-tokens", "8", "--output-tokens", "40", "--scale", "2", *DEVICE, *RATES,
    )  # fmt: skip
    assert status == 0
    text = capsys.readouterr().out
    assert "the first 30 of 996 requests" in text
    assert "all prompts of 8 tokens, all answers of 40 tokens" in text


def test_a_real_run_answers_every_request_and_decides_as_the_simulated_one(
    tiny_model: TinyModel, tmp_path: Path
):
    trace = write_trace(tmp_path, *(f"{0.05 * i},{5 + i},10," for i in range(8)))
    arguments = [
        *(sys.executable, "-m", "lambdascale", "run", "--json", "--nodes", "2", "--slots", "2"),
        *("--model", str(tiny_model("llama")), "--trace", str(trace), *DEVICE, *RATES),
    ]
    real, simulated = (
        json.loads(subprocess.run([*arguments, *more], capture_output=True, check=True).stdout)
        for more in ([], ["--simulate"])
    )
    assert real["provenance"] == "emulated"
    assert [len(tokens) for tokens in real["outputs"].values()] == [10] * 8
    starts = [
        [(d["nodes"], d["ssd"], d["cold"]) for d in r["decisions"]] for r in (real, simulated)
    ]
    assert starts[0] == starts[1]
    assert real["summary"][0]["answered"] == simulated["summary"][0]["answered"] == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--policy", "guess"), "policy 'guess' is unknown; use one of authors, concurrency"),
        (("--gpu-gb", "0"), "gpu capacity is 0"),
        (("--host-gb", "-1"), "host_gb is -1"),
        (("--nodes", "0"), "num_nodes is 0"),
        (("--kv-switch", "hope"), "kv_switch 'hope' is unknown; use one of cost"),
        (("--max-output", "4000"), "raise max_length"),
        (("--algorithm", "gossip"), "algorithm 'gossip' is unknown"),
        (("--rename", "a"), "write OLD=NEW"),
        (("--output-tokens", "0"), "output_tokens is 0"),
        (("--device-gbytes", "3", "--device-tflops"), "expected one argument"),
        (("--dtype", "float8"), "dtype 'float8' is unknown"),
    ],
)
def test_what_cannot_work_is_one_line_on_standard_error(
    tiny_model: TinyModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
):
    trace = write_trace(tmp_path, "0,5,10,")
    given = ("--simulate", "--model", tiny_model("llama"), "--trace", trace, *DEVICE, *RATES)
    try:
        status = run(*given, *arguments)
    except SystemExit as exit:
        status = exit.code
    assert status == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_malformed_line_of_a_trace_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trace = write_trace(tmp_path, "0,5,10,", "1,five,10,")
    assert run("--simulate", "--trace", trace, *DEVICE) == 2
    assert "line 3" in capsys.readouterr().err


def test_a_missing_trace_is_said_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("--trace", tmp_path / "none.csv") == 2
    assert "cannot read the trace" in capsys.readouterr().err


def test_models_of_the_paper_run_in_virtual_time_only_and_need_a_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    trace = write_trace(tmp_path, "0,5,10,")
    given = ("--model", "llama-2-7b", "--dtype", "float16", "--trace", trace, "--nodes", "2")
    assert run(*given) == 2
    assert "dtype float16 is only simulated" in capsys.readouterr().err
    assert run(*given, "--simulate") == 2
    assert "llama-2-7b has no weights to measure" in capsys.readouterr().err
    h800 = ("--device-gbytes", "3350", "--device-tflops", "400", "--link-gbps", "400")
    assert run(*given, "--simulate", *h800) == 0
    assert "1/1" in capsys.readouterr().out
