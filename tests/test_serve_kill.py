"""Agents that are killed under the endpoint: every client gets the right tokens, or an error."""

from pathlib import Path

import psutil
from leftovers import footprint, within
from serving import END_S, started
from tiny import TinyModel

from lambdascale.experiments.kills import KillSpec, metrics, replays

SHORT = KillSpec(seconds=8.0, speedup=6.0, max_tokens=16, num_prompts=4, num_kills=2, link_gbps=5.0)


def test_every_answer_is_right_although_agents_are_killed():
    result = replays(SHORT)
    assert list(result.requests["failure"].unique()) == [""]
    assert result.requests["right"].all(), result.requests[~result.requests["right"]]
    (run,) = result.runs.to_dict("records")
    assert run["lost"] == SHORT.num_kills
    assert run["returned"] == SHORT.num_kills, "each was started again"
    assert result.kills["in_flight"].max() > 0, "somebody was being served"
    assert next(metrics(result)).values == (1.0,)


def test_answers_of_an_endpoint_that_fails_end_with_an_error_that_says_so(
    tiny_model: TinyModel, tmp_path: Path
):
    with started(tiny_model("llama"), str(tmp_path), "--nodes", 1, "--ssd-gbps", 1e-6) as server:
        taken = footprint(server.process.pid, tmp_path)
        body = {"model": server.model, "prompt": "The load takes minutes", "stream": True}
        with server.http() as http, http.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            assert next(lines) == ": loading 0 %"
            (nursery,) = psutil.Process(server.process.pid).children()
            nursery.kill()
            assert any("the server has failed" in line for line in lines)
        assert server.process.wait(END_S) == 2
    assert within(lambda: taken.gone)
