"""The endpoint and a replayed trace on a cluster: right tokens, although an agent is killed on its node."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nurseries import nurseries
from serving import Server, serving

from lambdascale.experiments.parity import generated
from lambdascale.model.packed import PackedModel
from lambdascale.model.text import Tokenizer
from lambdascale.workload.request import Request

MODEL, PROMPT, MAX_TOKENS, NUM_CLIENTS = "smollm2-135m", "The sea was", 24, 24


def ask(server: Server, _: int) -> str:
    with server.client() as client:
        choice = client.completions.create(
            model=MODEL, prompt=PROMPT, max_tokens=MAX_TOKENS, temperature=0
        ).choices[0]
    return choice.text


def test_an_endpoint_on_a_cluster_answers_although_an_agent_is_killed(
    cluster_file: Path, smollm2: PackedModel
):
    options = ("--cluster", cluster_file, "--nodes", 4, "--slots", 4)
    with serving(MODEL, *options) as server, ThreadPoolExecutor(NUM_CLIENTS) as pool:
        ask(server, 0)
        texts = pool.map(lambda number: ask(server, number), range(NUM_CLIENTS))
        found = nurseries()
        next(process for process in found if process.parent() in found).kill()
        answers = set(texts)
        assert server.metric("lambdascale_nodes_lost_total") == 1
    tokenizer = Tokenizer(smollm2)
    request = Request(0, tokenizer.encode(PROMPT), MAX_TOKENS, stop=tokenizer.stop_ids)
    tokens = generated(MODEL, "float32", [request])[0]
    assert answers == {tokenizer.decode([t for t in tokens if t not in tokenizer.stop_ids])}


def test_a_trace_on_a_cluster_is_answered_with_nothing_imposed_but_its_links(
    cluster_file: Path, tmp_path: Path, smollm2: PackedModel
):
    trace = tmp_path / "trace.csv"
    rows = [f"{0.1 * i:.1f},8,6," for i in range(8)]
    trace.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens,model", *rows, ""]))
    argv = [
        sys.executable,
        "-m",
        "lambdascale",
        "run",
        "--json",
        "--model",
        MODEL,
        "--trace",
        trace,
    ]
    done = subprocess.run(
        [*argv, "--cluster", cluster_file, "--nodes", "4"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [len(tokens) for tokens in said["outputs"].values()] == [6] * 8
    assert said["provenance"] == "emulated", "something outside holds the links to their rate"
    assert said["losses"] == []


def test_a_cluster_with_too_few_agents_is_refused_in_one_line(cluster_file: Path):
    done = subprocess.run(
        [sys.executable, "-m", "lambdascale", "serve", "--cluster", cluster_file, "--nodes", "9"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("lambdascale serve: nodes is 9, but cluster ")
    assert done.stderr.count("\n") == 1
