"""An endpoint is killed and started again: its agents are the same, hold what they held, and go on."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from engine_driver import reference, reference_model
from leftovers import Footprint, alive, footprint, within
from serving import END_S, Server, started
from tiny import TinyModel

from lambdascale.experiments.endpoint_process import command
from lambdascale.model.catalogue import load_packed
from lambdascale.model.text import Tokenizer
from lambdascale.workload.request import Request

pytestmark = pytest.mark.alone

NODES, SLOTS, BLOCKS, LONG = 3, 1, 16, 180
PROMPT = "The sea was "
OPTIONS = ("--nodes", NODES, "--slots", SLOTS, "--blocks", BLOCKS, "--max", 1, "--max-length", 200)


@pytest.fixture(scope="module")
def folder(tiny_model: TinyModel) -> Path:
    return tiny_model("llama")


@pytest.fixture
def scratch() -> Iterator[str]:
    """Temporary files of all processes; a short name, as the state has a socket."""
    with tempfile.TemporaryDirectory() as scratch:
        yield scratch


def family(server: Server) -> tuple[psutil.Process, list[psutil.Process]]:
    """Its nursery, which may be another's child, and its agents."""
    (nursery,) = [
        process
        for process in psutil.process_iter()
        if f"lambdascale.fleet.zygote {server.process.pid} " in " ".join(_cmdline(process))
        and process.ppid() == server.process.pid
    ]
    return nursery, nursery.children()


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def answer(server: Server, max_tokens: int = 20) -> str:
    with server.client() as client:
        asked = client.completions.create(
            model=server.model, prompt=PROMPT, max_tokens=max_tokens, temperature=0
        )
    return asked.choices[0].text


def long_answer(server: Server, client: openai.OpenAI) -> Any:
    """The stream of an answer that has begun, and is far from its end."""
    stream = client.completions.create(
        model=server.model, prompt=PROMPT, max_tokens=LONG, seed=4, stream=True
    )
    next(iter(stream))
    return stream


def refused(folder: Path, *options: object) -> str:
    """What a serve that cannot begin says, in one line."""
    asked = command(("--model", folder, *options))
    ended = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def test_a_killed_endpoint_is_started_again_with_its_agents_and_their_blocks(
    folder: Path, scratch: str
):
    tokenizer = Tokenizer(load_packed(str(folder), "float32"))
    tokens = reference(reference_model(folder), Request(0, tokenizer.encode(PROMPT), 20))
    right = tokenizer.decode(tokens)
    state = Path(scratch, "state")
    options = (*OPTIONS, "--state", state)
    with ExitStack() as stack:
        first = stack.enter_context(started(folder, scratch, *options))
        assert first.told["agents_found"] == first.told["blocks_found"] == 0
        assert answer(first) == right
        nursery, agents = family(first)
        assert len(agents) == NODES
        taken = footprint(first.process.pid, Path(scratch))
        client = stack.enter_context(first.client())
        stream = long_answer(first, client)
        first.process.kill()
        with pytest.raises((openai.APIError, httpx.HTTPError)):
            list(stream)
        assert "num_nodes 3, not 2" in refused(folder, *options, "--nodes", 2)
        assert alive((nursery, *agents)) == [nursery, *agents]

        second = stack.enter_context(started(folder, scratch, *options))
        assert second.told["agents_found"] == NODES
        assert second.told["blocks_found"] >= BLOCKS
        assert second.metric(f'lambdascale_replicas{{model="{second.model}",tier="gpu"}}') == 1
        assert answer(second) == right, "although the only slot was taken when the first was killed"
        assert second.metric("lambdascale_moved_bytes_total") == 0, "nothing was loaded again"
        assert nursery.children() == agents
        assert "another process serves with" in refused(folder, *options)

        taken = _joined(taken, footprint(second.process.pid, Path(scratch)))
        second.process.terminate()
        second.process.wait(END_S)
        assert list(state.iterdir()) == []
        state.rmdir()
        assert within(lambda: taken.gone)


def _joined(one: Footprint, other: Footprint) -> Footprint:
    return Footprint(
        one.processes + other.processes,
        one.addresses | other.addresses,
        one.regions + other.regions,
        one.scratch,
    )


def test_agents_that_nobody_comes_back_for_end_with_their_lease(folder: Path, scratch: str):
    state = Path(scratch, "state")
    with started(folder, scratch, *OPTIONS, "--state", state, "--lease", 2) as server:
        processes = footprint(server.process.pid, Path(scratch)).processes
        assert len(processes) == 2 + NODES
        server.process.kill()
        assert alive(processes[1:])
        assert within(lambda: not alive(processes), 20.0)
    assert {path.name for path in state.iterdir()} == {"cluster", "nursery"}, (
        "what a next one removes"
    )
