"""The command line: every command plain and as JSON, and one clear line for every bad input."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import TinyModel

from lambdascale.__main__ import COMMANDS, main
from lambdascale.multicast.bounds import lower_bound

PLAN_KEYS = [
    *("num_nodes", "num_sources", "num_blocks", "algorithm"),
    *("num_ticks", "coverage_tick", "pipeline_tick", "lower_bound", "transfers"),
]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("What is a node?\n\n  Name three colours.  \n")
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache: nothing a test does may need, or touch, what the user fetched."""
    monkeypatch.setenv("LAMBDASCALE_CACHE", str(tmp_path_factory.mktemp("cache")))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail at once; return its one line of complaint."""
    capsys.readouterr()  # what fixtures said
    began = time.perf_counter()
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as exit_:
        status = int(str(exit_.code))
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert err.startswith(f"lambdascale {arguments[0]}: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert time.perf_counter() - began < 15
    return err


def answered(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()  # what fixtures said
    assert main([str(a) for a in arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_names_every_option(capsys: pytest.CaptureFixture[str], command: list[str]):
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    out = capsys.readouterr().out
    expected = ["--json"] if command else list(COMMANDS)
    assert all(word in out for word in expected)


def test_the_plan_of_the_readme_has_exactly_these_keys_and_numbers(capsys):
    shape = ["--algorithm", "kway", "--nodes", "8", "--sources", "2", "--blocks", "16"]
    report = json.loads(answered(capsys, "plan", *shape, "--json"))
    assert list(report) == PLAN_KEYS
    assert (report["num_nodes"], report["num_sources"], report["num_blocks"]) == (8, 2, 16)
    assert report["num_ticks"] == 16 + 2 - 1, "b + log2(L) - 1 in sub-groups of four"
    assert report["coverage_tick"] == 8, "b / k"
    assert report["lower_bound"] == lower_bound(8, 2, 16)
    assert report["coverage_tick"] <= report["pipeline_tick"] <= report["num_ticks"]
    assert len(report["transfers"]) == 6 * 16
    assert all(list(row) == ["tick", "src", "dst", "block"] for row in report["transfers"])
    received = {(row["dst"], row["block"]) for row in report["transfers"]}
    assert received == {(node, block) for node in range(2, 8) for block in range(16)}
    assert min(row["tick"] for row in report["transfers"]) == 1


def test_a_plan_is_shown_as_a_table(capsys):
    out = answered(capsys, "plan", "--nodes", 4, "--sources", 2, "--blocks", 4)
    assert "lower bound" in out
    assert len([line for line in out.splitlines() if line.startswith("node ")]) == 4


def test_a_simulation_is_shown_as_a_timeline_and_as_json(capsys):
    shape = ("--nodes", 6, "--sources", 2, "--requests", 20, "--max-tokens", 8)
    out = answered(capsys, "simulate", *shape)
    assert out.count("\nnode ") == 6
    assert "these figures are simulated" in out
    data = json.loads(answered(capsys, "simulate", *shape, "--json"))
    assert {row["phase"] for row in data["phases"]} >= {"covered", "complete", "finished"}
    assert len(data["requests"]) == 20
    for request in data["requests"]:
        assert len(request["prompt_token_ids"]) == 32
        assert len(request["output_token_ids"]) == 8
        assert request["ttft_s"] > 0
        assert request["served_by"][0].split()[0] in ("replica", "pipeline")


def test_fetch_packs_a_folder_and_says_where(capsys, tiny_model: TinyModel):
    folder = tiny_model("llama")
    facts = json.loads(answered(capsys, "fetch", "--model", folder, "--json"))
    assert Path(facts["image"]).stat().st_size == facts["nbytes"]
    assert facts["layers"] == 8
    assert "is ready" in answered(capsys, "fetch", "--model", folder)


def test_only_real_traces_of_the_catalogue_are_fetched(capsys):
    assert "generated when it is used" in refused(capsys, "fetch", "--trace", "day-like")
    assert "use one of azure_conv_30min" in refused(capsys, "fetch", "--trace", "xyz")
    assert "not allowed with" in refused(capsys, "fetch", "--trace", "x", "--model", "y")


def test_a_real_trace_that_is_there_is_not_downloaded(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LAMBDASCALE_TRACES", str(tmp_path))
    (tmp_path / "azure_conv_30min.csv").write_text(
        "arrival_s,prompt_tokens,output_tokens,model\n0,1,2,\n"
    )
    complaint = refused(capsys, "fetch", "--trace", "azure_conv_30min")
    assert "is not the trace of the catalogue" in complaint, "it was read and compared"


SHAPES = [
    ("--nodes 1", "nodes is 1"),
    ("--nodes -3", "nodes is -3"),
    ("--nodes 4 --sources 4", "sources is 4"),
    ("--nodes 4 --sources 5", "sources is 5"),
    ("--sources 0", "sources is 0"),
    ("--sources -1", "sources is -1"),
    ("--sources 3 --blocks 2", "blocks is 2"),
    ("--blocks -1", "blocks is -1"),
    ("--algorithm magic", "algorithm 'magic' is unknown; use one of binomial, kway"),
    ("--order magic", "order 'magic' is unknown"),
    ("--nodes 1000000000", "transfers"),
    ("--nodes many", "--nodes"),
    ("--magic", "--magic"),
]


@pytest.mark.parametrize("command", ["plan", "simulate", "scale"])
@pytest.mark.parametrize(("shape", "complaint"), SHAPES)
def test_a_scale_out_that_cannot_work_is_refused(capsys, prompts, command, shape, complaint):
    more = ("--prompts", prompts, "--model", "smollm2-135m") if command == "scale" else ()
    assert complaint in refused(capsys, command, *more, *shape.split())


RUNS = [
    ("--max-tokens 0", "max_tokens is 0"),
    ("--max-tokens -1", "max_tokens is -1"),
    ("--link-gbps 0", "--link-gbps: 0 is not above 0"),
    ("--link-gbps -1", "--link-gbps: -1 is not above 0"),
    ("--link-gbps nan", "not a finite number"),
    ("--link-gbps fast", "--link-gbps"),
    ("--timeout 0", "--timeout: 0 is not above 0"),
    ("--timeout inf", "not a finite number"),
    ("--slots 0", "max_slots is 0"),
    ("--max-length 0", "max_length is 0"),
    ("--temperature -1", "temperature is -1"),
    ("--temperature nan", "not a finite number"),
    ("--top-k -1", "top_k is -1"),
    ("--top-p 0", "top_p is 0"),
    ("--top-p 2", "top_p is 2"),
    ("--dtype float8", "dtype 'float8' is unknown"),
    ("--model nonsense", "model 'nonsense'"),
]


@pytest.mark.parametrize("command", ["simulate", "scale"])
@pytest.mark.parametrize(("run", "complaint"), RUNS)
def test_a_run_that_cannot_work_is_refused(capsys, prompts, command, run, complaint):
    more = ("--prompts", prompts) if command == "scale" else ()
    assert complaint in refused(capsys, command, *more, *run.split())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--transport pigeon", "transport is 'pigeon'; choose one of shm, tcp"),
        ("--dtype float16", "dtype float16 is only simulated"),
        ("--model llama-2-13b", "only a shape"),
    ],
)
def test_what_only_a_real_run_cannot_do_is_refused(capsys, prompts, options, complaint):
    assert complaint in refused(capsys, "scale", "--prompts", prompts, *options.split())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--requests -1", "--requests must be"),
        ("--prompt-tokens 0", "--prompt-tokens at least 1"),
        ("--prompt-tokens 5000 --max-length 9999", "context is 4096"),
        ("--prompt-tokens 500", "512 fit"),
        ("--device-gbytes 0", "--device-gbytes"),
        ("--device-tflops -1", "--device-tflops"),
    ],
)
def test_an_impossible_simulation_is_refused(capsys, options, complaint):
    assert complaint in refused(capsys, "simulate", *options.split())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (b"", "has no prompts"),
        (b" \n\n\t\n", "has no prompts"),
        (b"\xff\xfe\x00\x80", "not text in UTF-8"),
    ],
)
def test_a_prompts_file_without_prompts_is_refused(capsys, tmp_path, content, complaint):
    path = tmp_path / "given"
    if content is not None:
        path.write_bytes(content)
    assert complaint in refused(capsys, "scale", "--prompts", path)


def test_a_folder_is_no_prompts_file(capsys, tmp_path):
    assert "Is a directory" in refused(capsys, "scale", "--prompts", tmp_path)
    assert "--prompts" in refused(capsys, "scale")


def damaged(tiny_model: TinyModel, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model("llama"), tmp_path / "damaged"))


@pytest.mark.parametrize("command", ["scale", "fetch"])
def test_a_checkpoint_that_cannot_be_read_is_refused(
    capsys, prompts, command, tiny_model, tmp_path
):
    folder = damaged(tiny_model, tmp_path)
    given = (command, "--model", folder, *(("--prompts", prompts) if command == "scale" else ()))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refused(capsys, *given)
    weights.unlink()
    assert "no safetensors" in refused(capsys, *given)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    assert "architecture 'mamba' is not supported" in refused(capsys, *given)
    (folder / "config.json").write_text("{")
    assert "config.json" in refused(capsys, *given)
    (folder / "config.json").unlink()
    assert "config.json" in refused(capsys, *given)


def test_a_checkpoint_without_a_tokenizer_is_refused(capsys, prompts, tiny_model, tmp_path):
    folder = damaged(tiny_model, tmp_path)
    for path in folder.glob("*token*"):
        path.unlink()
    assert "tokenizer" in refused(capsys, "scale", "--model", folder, "--prompts", prompts)


def test_a_prompt_longer_than_the_context_is_refused(capsys, prompts, tiny_model):
    prompts.write_text("short\n" + "long " * 60)
    given = ("scale", "--model", tiny_model("llama"), "--prompts", prompts)
    complaint = refused(capsys, *given)
    assert "prompt 1 has 299 tokens" in complaint
    assert "256 fit" in complaint
    prompts.write_text("seven  words")
    assert "max_length 20" in refused(capsys, *given, "--max-length", 20)


def test_more_nodes_than_the_memory_holds_are_refused(capsys, prompts, tiny_model):
    given = ("--model", tiny_model("llama"), "--prompts", prompts, "--slots", 100_000_000)
    assert "MiB" in refused(capsys, "scale", *given)


PATIENT = ("--sources", 2, "--nodes", 4, "--link-gbps", 0.03, "--max-tokens", 6)


def test_scale_prints_each_answer_with_its_servers_then_a_timeline_and_phases(
    capsys, prompts, tiny_model
):
    given = ("--model", tiny_model("llama"), "--prompts", prompts)
    out = answered(capsys, "scale", *given, *PATIENT)
    assert out.index("] What is a node?\n") < out.index("\nnode 0")
    assert "[1] Name three colours.\n" in out
    assert out.count("; by replica ") == 2
    assert out.count("\nnode ") == 4
    for phase in ("agents up", "prepared", "connected", "covered", "complete", "finished"):
        assert f"\n{phase} " in out
    assert "2 answers of 12 tokens" in out
    assert "these figures are emulated" in out


def test_scale_as_json_has_phases_and_requests(capsys, prompts, tiny_model):
    given = ("--model", tiny_model("llama"), "--prompts", prompts, "--json")
    data = json.loads(answered(capsys, "scale", *given, *PATIENT))
    assert all(list(row) == ["phase", "start_s", "seconds"] for row in data["phases"])
    assert [r["prompt"] for r in data["requests"]] == ["What is a node?", "Name three colours."]
    for request in data["requests"]:
        text = request["prompt"].encode()
        assert request["prompt_token_ids"] == [byte_id(byte) for byte in text]
        assert len(request["output_token_ids"]) == 6
        assert 0 < request["ttft_s"] < 60
        assert request["served_by"][0] in ("replica 0", "replica 1")


def byte_id(byte: int) -> int:
    from tokenizers import pre_tokenizers

    letter = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(chr(byte))[0][0]
    return sorted(pre_tokenizers.ByteLevel.alphabet()).index(letter)


def lambdascale(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lambdascale", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_process_says_what_is_wrong_in_one_line_and_exits_with_2():
    done = lambdascale("plan", "--nodes", "2", "--sources", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lambdascale plan: sources is 2")
    assert done.stderr.count("\n") == 1
    assert lambdascale("dance").returncode == 2
    assert lambdascale("--version").stdout.startswith("lambdascale ")


LIGHT = """
import sys
from lambdascale.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = {"torch", "transformers", "pandas", "matplotlib", "numpy"} & set(sys.modules)
print(sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ("--help", set()),
        ("plan", set()),
        ("scale --help", {"numpy"}),
        ("simulate --help", {"numpy"}),
    ],
)
def test_help_and_plan_import_nothing_heavy(arguments: str, allowed: set[str]):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *arguments.split()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.strip() in (str(sorted(allowed)), "[]")


def test_output_that_nobody_reads_is_no_traceback():
    with subprocess.Popen(
        [sys.executable, "-m", "lambdascale", "plan", "--nodes", "64", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait(30) == 141
