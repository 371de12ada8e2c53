"""A real endpoint over real agents, asked by OpenAI's own client: tokens, refusals, clients that leave."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from engine_driver import reference, reference_model
from leftovers import within
from serving import END_S, Server, serving
from tiny import TinyModel

from lambdascale.experiments.endpoint_process import agents, command
from lambdascale.model.catalogue import load_packed
from lambdascale.model.text import Tokenizer
from lambdascale.workload.request import Request, Sampling

MAX_LENGTH, SLOTS, MAX_QUEUE, MAX_BODY = 200, 2, 3, 20_000
LOAD_S = 1.5  # from an SSD
PROMPT = "The sea was "
EOS = 256  # of tiny models


@pytest.fixture(scope="module")
def folder(tiny_model: TinyModel) -> Path:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    gbps = load_packed(str(folder), "float32").layout.nbytes * 8 / 1e9 / LOAD_S
    limits = ("--max-length", MAX_LENGTH, "--slots", SLOTS, "--max-queue", MAX_QUEUE)
    with serving(
        folder, "--nodes", 2, "--max", 1, "--ssd-gbps", gbps, "--max-body", MAX_BODY, *limits
    ) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


class Transformers:
    """What plain `transformers` answers."""

    def __init__(self, folder: Path) -> None:
        self._model = reference_model(folder)
        self._tokenizer = Tokenizer(load_packed(str(folder), "float32"))

    def text(self, prompt: str, max_tokens: int, sampling: Sampling | None = None) -> str:
        ids = self._tokenizer.encode(prompt)
        tokens = reference(self._model, Request(0, ids, max_tokens, sampling or Sampling()))
        return self._tokenizer.decode(tokens[: tokens.index(EOS)] if EOS in tokens else tokens)


@pytest.fixture(scope="module")
def transformers(folder: Path) -> Transformers:
    return Transformers(folder)


def test_a_request_at_zero_replicas_is_told_how_far_the_load_is_and_then_answered(
    server: Server, transformers: Transformers
):
    """The first of this module: nothing is loaded yet."""
    body = {"model": server.model, "prompt": PROMPT, "temperature": 0, "stream": True}
    with server.http() as http, http.stream("POST", "/v1/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    comments = [line for line in lines if line.startswith(":")]
    assert lines[: len(comments)] == comments
    shares = [int(line.split()[-2]) for line in comments if "loading" in line]
    assert shares == sorted(shares)
    assert any(0 < share < 100 for share in shares)
    events = [line.removeprefix("data: ") for line in lines[len(comments) :]]
    assert events[-1] == "[DONE]"
    text = "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])
    assert text == transformers.text(PROMPT, 16)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_completions_are_those_of_transformers(
    client: openai.OpenAI,
    server: Server,
    transformers: Transformers,
    streamed: bool,
    temperature: float,
):
    text, usage, reason = completed(
        client, streamed, model=server.model, prompt=PROMPT, max_tokens=40, temperature=temperature,
        top_p=0.95, seed=11,
    )  # fmt: skip
    assert text == transformers.text(PROMPT, 40, Sampling(temperature, top_p=0.95, seed=11))
    assert usage.prompt_tokens == len(PROMPT)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens == 40 if reason == "length" else reason == "stop"


def completed(client: openai.OpenAI, streamed: bool, **asked: Any) -> tuple[str, Any, str | None]:
    if not streamed:
        answer = client.completions.create(**asked)
        return answer.choices[0].text, answer.usage, answer.choices[0].finish_reason
    with client.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *events, last = list(stream)
    text = "".join(event.choices[0].text for event in events)
    return text, last.usage, events[-1].choices[0].finish_reason


@pytest.mark.parametrize("streamed", [False, True])
def test_chats_are_those_of_transformers(
    client: openai.OpenAI, server: Server, transformers: Transformers, streamed: bool
):
    asked: Any = {
        "model": server.model,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Who are you?"}]},
        ],
        "max_completion_tokens": 20,
        "temperature": 0,
    }
    if streamed:
        with client.chat.completions.create(**asked, stream=True) as stream:
            deltas = [event.choices[0].delta for event in stream]
        assert deltas[0].role == "assistant"
        text = "".join(delta.content or "" for delta in deltas)
    else:
        text = client.chat.completions.create(**asked).choices[0].message.content or ""
    assert text == transformers.text("Be brief.\nWho are you?", 20)


def test_an_answer_ends_before_a_stop_text_and_gives_its_slot_back(
    client: openai.OpenAI, server: Server, transformers: Transformers
):
    whole = transformers.text(PROMPT, 60)
    stop = whole[len(whole) // 3 :][:2]
    for streamed in (False, True):
        text, usage, reason = completed(
            client, streamed, model=server.model, prompt=PROMPT, max_tokens=60, temperature=0,
            stop=[stop, "never said"],
        )  # fmt: skip
        assert text == whole[: whole.index(stop)]
        assert reason == "stop"
        assert usage.completion_tokens < 60
    assert free(server)


def free(server: Server, seconds: float = 5.0) -> bool:
    """Does nothing hold a slot, soon?"""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not server.metric("lambdascale_requests_in_flight"):
            return True
        time.sleep(0.02)
    return False


def long_answers(server: Server) -> dict[str, Any]:
    """A request that is never over before somebody leaves it: most seeds do not meet the end of text."""
    return {"model": server.model, "prompt": PROMPT, "max_tokens": 180, "seed": 4, "stream": True}


def test_a_client_that_closes_its_stream_frees_the_slot(client: openai.OpenAI, server: Server):
    before = ended(server)
    streams = [client.completions.create(**long_answers(server)) for _ in range(SLOTS)]
    for stream in streams:
        next(iter(stream))
        stream.close()
    assert free(server)
    assert ended(server) == before + SLOTS


def ended(server: Server) -> float:
    """How many requests have come to an end, most of them here because their clients left."""
    return sum(
        server.metric(f'lambdascale_requests_total{{model="{server.model}",outcome="{outcome}"}}')
        for outcome in ("left", "answered")
    )


def test_overload_is_answered_with_when_to_come_again(server: Server):
    refused: list[httpx.Response] = []
    answered: list[httpx.Response] = []

    def ask() -> None:
        body = long_answers(server) | {"stream": False}
        with server.http() as http:
            response = http.post("/v1/completions", json=body)
        (refused if response.status_code == 429 else answered).append(response)

    threads = [threading.Thread(target=ask) for _ in range(4 * (SLOTS + MAX_QUEUE))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert refused
    assert len(answered) >= SLOTS + MAX_QUEUE
    assert {response.status_code for response in answered} == {200}
    assert len({response.json()["choices"][0]["text"] for response in answered}) == 1, "same seed"
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
    assert refused[0].json()["error"]["type"] == "rate_limit_error"


def test_a_wrong_key_is_refused(server: Server):
    with server.client("another") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    with server.http("another") as http:
        assert http.get("/metrics").status_code == 401
        assert http.get("/healthz").json() == {"status": "ok"}


def test_models_are_listed_and_others_are_not_found(client: openai.OpenAI, server: Server):
    assert [model.id for model in client.models.list()] == [server.model]
    assert client.models.retrieve(server.model).id == server.model
    with pytest.raises(openai.NotFoundError, match="no such model"):
        client.completions.create(model="other", prompt="x")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "invalid_json"),
        (b'{"model": "M", "prompt": "\\ud800"}', "invalid_value"),
        (b'{"model": "M", "prompt": ""}', "prompt is empty"),
        (b'{"model": "M", "prompt": [5, 512]}', "none of 0 to 511"),
        (b'{"model": "M", "prompt": "x", "max_tokens": 1000}', "context_length_exceeded"),
        (b'{"model": "M", "prompt": "x", "temperature": NaN}', "temperature"),
        (b'{"model": "M", "prompt": "x", "logprobs": 5}', "logprobs"),
        (b"[" * 19_000, "parsing"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_the_form_of_openai(
    server: Server, body: bytes, said: str
):
    content = body.replace(b'"M"', f'"{server.model}"'.encode())
    with server.http() as http:
        response = http.post(
            "/v1/completions", content=content, headers={"content-type": "application/json"}
        )
    assert response.status_code == 400, response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert said in response.text


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(server: Server, chunked: bool):
    text = b'{"prompt": "' + b"x" * (2 * MAX_BODY)
    content = (text[i : i + 4096] for i in range(0, len(text), 4096)) if chunked else text
    with server.http() as http:
        response = http.post(
            "/v1/completions", content=content, headers={"content-type": "application/json"}
        )
    assert response.status_code == 413
    assert "send less" in response.json()["error"]["message"]


def test_headers_that_are_too_large_are_refused(server: Server):
    with server.http() as http:
        assert http.get("/v1/models", headers={"x": "y" * 20_000}).status_code == 431


def test_metrics_say_what_has_happened(server: Server):
    label = f'model="{server.model}"'
    assert server.metric(f"lambdascale_time_to_first_token_seconds_count{{{label}}}") >= 1
    assert server.metric(f"lambdascale_time_per_output_token_seconds_count{{{label}}}") >= 1
    assert server.metric(f'lambdascale_replicas{{{label},tier="gpu"}}') == 1
    assert server.metric("lambdascale_nodes ") == 2
    assert server.metric("lambdascale_nodes_lost_total") == 0
    assert server.metric(f"lambdascale_gpu_seconds_total{{{label}}}") > 0
    assert server.metric(f'lambdascale_scale_out_phase_seconds_count{{{label},phase="covered"}}')
    moved = server.metric(f'lambdascale_moved_bytes_total{{{label},origin="ssd"}}')
    with server.http() as http:
        assert http.get("/openapi.json").json()["info"]["title"] == "λScale"
    assert moved > 0


def test_an_interrupt_ends_open_streams_clearly_and_leaves_nothing(tiny_model: TinyModel):
    """The load would take minutes."""
    with serving(
        tiny_model("llama"), "--nodes", 2, "--ssd-gbps", 1e-6, signalled=signal.SIGINT
    ) as server:
        body = {"model": server.model, "prompt": PROMPT, "stream": True}
        with server.http() as http, http.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            assert next(lines) == ": loading 0 %"
            server.process.send_signal(signal.SIGINT)
            assert any("the server is shutting down" in line for line in lines)
        server.process.wait(END_S)


def test_an_agent_that_ends_during_the_start_is_said_in_one_line(tiny_model: TinyModel):
    """The initial copy would take minutes to load."""
    command = [sys.executable, "-m", "lambdascale", "serve", "--port", "0", "--nodes", "2"]
    model = ("--model", str(tiny_model("llama")), "--initial-gpu", "1", "--ssd-gbps", "1e-6")
    with subprocess.Popen([*command, *model], stderr=subprocess.PIPE, text=True) as process:
        assert within(lambda: len(agents(process.pid)) == 2, 60.0)
        agents(process.pid)[0].kill()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.fullmatch(
        "lambdascale serve: node [01] is gone: the agent ended while .*; see its output, then start again\n",
        said,
    )


def test_agents_on_a_cluster_are_not_kept(tmp_path: Path):
    cluster, state = Path(__file__).parents[1] / "artifact/clusters/cpus.yaml", tmp_path / "state"
    asked = command(("--cluster", cluster, "--nodes", 2, "--state", state))
    ended = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.endswith("leave out --state or --cluster\n")
    assert not state.exists()
