"""Replay: the trace's arrivals and lengths, cut and renamed as stated, with prompts that never change."""

import subprocess
import sys
from dataclasses import replace

import pytest

from lambdascale.errors import ConfigError
from lambdascale.workload.replay import Replay
from lambdascale.workload.request import Sampling
from lambdascale.workload.trace import TraceRow

ROWS = (
    TraceRow(0.0, 453, 95, "a"),
    TraceRow(1.5, 8, 73, "b"),
    TraceRow(1.5, 64, 4, ""),
    TraceRow(6.0, 65, 33, "a"),
)
TOKEN_IDS = {"a": range(10, 500), "b": range(3, 8), "": range(3, 8)}
REPLAY = Replay(speedup=3.0, max_prompt=64, max_output=32)


def test_arrivals_are_divided_and_lengths_are_cut_to_the_caps():
    requests = REPLAY.requests(ROWS, TOKEN_IDS)
    assert [r.id for r in requests] == [0, 1, 2, 3]
    assert [r.arrival_s for r in requests] == [0.0, 0.5, 0.5, 2.0]
    assert [len(r.prompt) for r in requests] == [64, 8, 64, 64]
    assert [r.max_tokens for r in requests] == [32, 32, 4, 32]
    assert [r.model for r in requests] == ["a", "b", "", "a"]
    assert all(r.stop == () for r in requests)


def test_prompts_are_token_ids_of_the_model_they_are_for():
    for request in REPLAY.requests(ROWS, TOKEN_IDS):
        assert set(request.prompt) <= set(TOKEN_IDS[request.model])
    first, *_, last = REPLAY.requests(ROWS, TOKEN_IDS)
    assert first.prompt != last.prompt


def test_speed_limit_and_caps_do_not_change_what_a_prompt_begins_with():
    whole = REPLAY.requests(ROWS, TOKEN_IDS)
    other = Replay(speedup=1.0, max_prompt=5, max_output=1, limit=2).requests(ROWS, TOKEN_IDS)
    assert [r.prompt for r in other] == [r.prompt[:5] for r in whole[:2]]
    seeded = replace(REPLAY, seed=1).requests(ROWS, TOKEN_IDS)
    assert seeded[0].prompt != whole[0].prompt


def test_fixed_lengths_replace_those_of_the_trace_and_the_statement_says_so():
    fixed = replace(REPLAY, speedup=1.0, prompt_tokens=8, output_tokens=32)
    requests = fixed.requests(ROWS, TOKEN_IDS)
    assert {(len(r.prompt), r.max_tokens) for r in requests} == {(8, 32)}
    assert [r.arrival_s for r in requests] == [row.arrival_s for row in ROWS]
    assert fixed.statement(ROWS) == (
        "all 4 requests, all prompts of 8 tokens, all answers of 32 tokens"
    )


def test_prompts_are_the_same_in_every_process():
    program = """
from lambdascale.workload.replay import Replay
from lambdascale.workload.trace import TraceRow
(request,) = Replay(1.0, 8, 8).requests([TraceRow(0, 8, 8)], {"": range(1000)})
print(request.prompt)
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(printed) == 1


def test_models_are_renamed_by_pairs_or_all_to_one():
    pairs = replace(REPLAY, models=(("a", "b"),))
    assert [r.model for r in pairs.requests(ROWS, TOKEN_IDS)] == ["b", "b", "", "b"]
    assert {r.model for r in replace(REPLAY, model="b").requests(ROWS, {"b": range(9)})} == {"b"}


def test_the_sampling_is_passed_on():
    sampling = Sampling(temperature=0.5, seed=3)
    assert REPLAY.requests(ROWS, TOKEN_IDS, sampling)[0].sampling == sampling


def test_a_row_for_a_model_that_is_not_served_is_refused():
    with pytest.raises(ConfigError, match=r"request 1 .* model 'b', which is not served.* of a, c"):
        REPLAY.requests(ROWS, {"a": range(9), "c": range(9)})


def test_the_statement_says_what_was_cut_and_changed():
    assert REPLAY.statement(ROWS) == (
        "all 4 requests, 2 of 4 prompts cut to 64 tokens, 3 of 4 answers cut to 32 tokens, "
        "arrivals 3 times as fast"
    )
    as_it_is = Replay(speedup=1.0, max_prompt=500, max_output=100)
    assert as_it_is.statement(ROWS) == "all 4 requests, no prompt cut, no answer cut"
    renamed = replace(as_it_is, limit=3, model="smollm2-135m")
    assert renamed.statement(ROWS) == (
        "the first 3 of 4 requests, no prompt cut, no answer cut, "
        "served: a as smollm2-135m, b as smollm2-135m, no name as smollm2-135m"
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"speedup": 0.0}, "speedup is 0.0; it must be finite and above 0"),
        ({"speedup": float("nan")}, "speedup is nan"),
        ({"max_prompt": 0}, "max_prompt is 0; it must be at least 1"),
        ({"max_output": -1}, "max_output is -1"),
        ({"prompt_tokens": 0}, "prompt_tokens is 0; it must be at least 1"),
        ({"output_tokens": 33}, "output_tokens is 33 but max_output 32; raise max_output"),
        ({"limit": 0}, "limit is 0; it must be at least 1"),
        ({"model": "a", "models": (("b", "c"),)}, "give one of the two"),
        ({"models": (("b", "c"), ("b", "d"))}, "rename each name of the trace only once"),
    ],
)
def test_values_that_cannot_work_are_refused(change: dict[str, object], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        replace(REPLAY, **change)
