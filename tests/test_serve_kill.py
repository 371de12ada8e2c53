"""Agents that are killed under the endpoint: every client gets the right tokens all the same."""

import threading
from pathlib import Path

import psutil
from engine_driver import reference, reference_model
from leftovers import footprint, within
from serving import END_S, Server, serving, started
from tiny import TinyModel

from lambdascale.model.packed import PackedModel
from lambdascale.model.text import Tokenizer
from lambdascale.workload.request import Request, Sampling

NUM_CLIENTS, MAX_TOKENS, NUM_KILLS = 12, 30, 2


def nursery(server: Server) -> psutil.Process:
    (nursery,) = psutil.Process(server.process.pid).children()
    return nursery


def agents(server: Server) -> list[psutil.Process]:
    """The processes of its agents."""
    return nursery(server).children()


def test_every_answer_is_right_although_agents_are_killed(smollm2: PackedModel):
    answers: dict[int, str] = {}
    with serving("smollm2-135m", "--nodes", 4, "--slots", 3, "--link-gbps", 5) as server:

        def ask(number: int) -> None:
            with server.client() as client, client.completions.create(
                model="smollm2-135m", prompt=f"Client {number} says", max_tokens=MAX_TOKENS,
                temperature=1.0, seed=number, stream=True,
            ) as stream:  # fmt: skip
                answers[number] = "".join(event.choices[0].text for event in stream)

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(NUM_CLIENTS)]
        for thread in threads:
            thread.start()
        for kill in range(NUM_KILLS):
            threads[kill].join(1.5)
            agents(server)[0].kill()
        for thread in threads:
            thread.join(90)
        assert server.process.poll() is None
    tokenizer, model = Tokenizer(smollm2), reference_model(Path(smollm2.folder))
    for number in range(NUM_CLIENTS):
        prompt = tokenizer.encode(f"Client {number} says")
        tokens = reference(model, Request(0, prompt, MAX_TOKENS, Sampling(1.0, seed=number)))
        ends = [i for i, token in enumerate(tokens) if token in tokenizer.stop_ids]
        assert answers[number] == tokenizer.decode(tokens[: ends[0]] if ends else tokens), number


def test_answers_of_an_endpoint_that_fails_end_with_an_error_that_says_so(
    tiny_model: TinyModel, tmp_path: Path
):
    with started(tiny_model("llama"), str(tmp_path), "--nodes", 1, "--ssd-gbps", 1e-6) as server:
        taken = footprint(server.process.pid, tmp_path)
        body = {"model": server.model, "prompt": "The load takes minutes", "stream": True}
        with server.http() as http, http.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            assert next(lines) == ": loading 0 %"
            nursery(server).kill()
            assert any("the server has failed" in line for line in lines)
        assert server.process.wait(END_S) == 2
    assert within(lambda: taken.gone)
