"""What is asked while nodes are killed, and when; what a client hears; and how long nodes worked."""

import asyncio
import json
import math
from dataclasses import replace

import httpx
import pandas as pd
import pytest

from lambdascale.cluster.records import AllocationRecord
from lambdascale.errors import ConfigError
from lambdascale.experiments import kills
from lambdascale.experiments.asking import Heard, Question, ask
from lambdascale.experiments.kills import KillResult, KillSpec, metrics
from lambdascale.figures import kills as drawing
from lambdascale.serve.allocated import Allocated
from lambdascale.workload.request import Request

SPEC = KillSpec(seconds=60.0, speedup=2.0, max_tokens=8, num_prompts=3, num_kills=4)
QUESTION = Question("Why?", Request(0, (1, 2), 3))


@pytest.mark.parametrize("seed", range(5))
def test_there_is_one_kill_in_each_part_of_the_time(seed: int):
    times = replace(SPEC, seed=seed).kill_times()
    assert [int(time_s // 15) for time_s in times] == [0, 1, 2, 3]
    assert times == replace(SPEC, seed=seed).kill_times()
    assert times != replace(SPEC, seed=seed + 1).kill_times()


def test_arrivals_are_those_of_the_trace_and_prompts_repeat_greedy_and_drawn():
    asked = kills.asked_of(SPEC)
    arrivals = [question.request.arrival_s for question in asked]
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] < SPEC.seconds
    assert len({(q.prompt, q.request.sampling) for q in asked}) == 2 * SPEC.num_prompts
    assert max(question.request.max_tokens for question in asked) == SPEC.max_tokens
    assert kills.note_of(SPEC, asked).startswith(
        f"{len(asked)} requests of the first 120 s of burst"
    )


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"num_kills": -1}, {"max_tokens": 0}])
def test_what_cannot_be_asked_is_named(wrong: dict[str, float]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        replace(SPEC, **wrong)


def heard(lines: list[str], status: int = 200) -> Heard:
    async def listen() -> Heard:
        answer = httpx.Response(status, text="\n\n".join(lines))
        transport = httpx.MockTransport(lambda _: answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await ask(client, "a", QUESTION)

    return asyncio.run(listen())


def event(**fields: object) -> str:
    return f"data: {json.dumps(fields)}"


def test_a_client_hears_text_tokens_and_times():
    texts = [event(choices=[{"text": text}]) for text in ("Be", "cause", "")]
    found = heard([": loading 3 %", *texts, event(usage={"completion_tokens": 3}), "data: [DONE]"])
    assert (found.text, found.num_tokens, found.failure) == ("Because", 3, "")
    assert found.asked_s <= found.first_s <= found.ended_s
    assert found.token_s == (found.ended_s - found.first_s) / 2


@pytest.mark.parametrize(
    ("lines", "status", "why"),
    [
        ([event(choices=[{"text": "Be"}])], 200, "it ended in the middle"),
        ([event(error={"message": "no copy"})], 200, "no copy"),
        (["too many"], 429, "status 429: too many"),
    ],
)
def test_an_answer_that_is_none_says_why(lines: list[str], status: int, why: str):
    assert why in heard(lines, status).failure


class Plain:
    """Tokens as digits; 9 ends an answer."""

    stop_ids = (9,)

    def decode(self, ids: list[int]) -> str:
        return "".join(map(str, ids))


def test_what_ends_an_answer_is_one_of_its_tokens_and_no_text():
    assert kills.answer_of(Plain(), (1, 2, 9)) == ("12", 3)
    assert kills.answer_of(Plain(), (1, 2)) == ("12", 2)


def result(times: list[float]) -> KillResult:
    requests = pd.DataFrame(
        {"run": ["undisturbed", "4 kills"], "arrival_s": [1.0, 1.0], "ttft_s": times}
    )
    row = {"requests": 1, "ttft_p50_s": 1.0, "ttft_p99_s": 2.0, "token_s": 0.1, "gpu_s": 9.0}
    runs = pd.DataFrame([{"run": run, "right": i, **row} for i, run in enumerate(requests["run"])])
    at = pd.DataFrame({"run": ["4 kills"], "at_s": [0.5], "in_flight": [1], "servers": [1]})
    return KillResult(SPEC, requests, at, runs, "")


def test_metrics_tell_the_runs_apart_and_count_wrong_answers():
    found = {metric.name: metric for metric in metrics(result([0.1, 0.2]))}
    assert found["beyond.kills.right"].values == (0.0, 1.0)
    assert found["beyond.kills.killed.gpu_s"].values == (9.0,)
    assert "beyond.kills.undisturbed.ttft_p99_s" in found
    assert {metric.provenance for metric in found.values()} == {"measured"}


def test_a_figure_has_a_dot_per_request_and_a_line_per_kill():
    one = result([0.1, math.nan])
    panel = drawing.draw(one.requests, one.kills, provenance="measured").axes[0]
    assert len([line for line in panel.lines if line.get_gid() == "kills"]) == 1
    assert [line.get_label() for line in panel.lines][:2] == ["undisturbed", "4 kills"]


def test_nodes_count_while_they_are_assigned_whatever_is_said_twice():
    now = [0.0]
    allocated = Allocated(lambda: now[0])
    for time_s, node, begins in (
        (1, 0, True),
        (2, 1, True),
        (3, 0, True),
        (4, 0, False),
        (5, 0, False),
    ):
        now[0] = float(time_s)
        allocated.see(AllocationRecord("a", node, 0.0, begins))
    now[0] = 10.0
    assert allocated.seconds() == {"a": 3.0 + 8.0}
