"""Agents that are killed under the endpoint: every client gets the right tokens all the same."""

import pytest

from lambdascale.experiments.kills import KillSpec, metrics, replays

pytestmark = pytest.mark.alone

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
