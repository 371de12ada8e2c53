"""What if: a question is a value, its answer follows from it alone, and every control changes it."""

from dataclasses import replace

import pandas as pd
import pytest

from lambdascale.errors import ConfigError
from lambdascale.experiments.systems import SYSTEMS
from lambdascale.explore.whatif import (
    ARRIVALS,
    NUM_REQUESTS,
    POLICIES,
    WhatIf,
    answer,
    most_at_once,
    rows_of,
    spec_of,
)
from lambdascale.explore.whatif_box import WhatIfBox, numbers_text
from lambdascale.sim.engine_spec import ENGINES

SMALL = WhatIf("llama-2-7b", num_nodes=3, rate=5.0, arrivals="all at once")


@pytest.fixture(scope="module")
def box() -> WhatIfBox:
    return WhatIfBox(SMALL)


def test_more_nodes_cost_less_waiting() -> None:
    two, three = answer(replace(SMALL, num_nodes=2)), answer(SMALL)
    assert (two.most_nodes, three.most_nodes) == (2, 3)
    assert three.ttft_p90_s < two.ttft_p90_s
    assert len(three.result.requests) == NUM_REQUESTS


def test_a_question_is_answered_once() -> None:
    assert answer(SMALL) is answer(replace(SMALL))


@pytest.mark.parametrize("arrivals", ARRIVALS)
def test_every_model_and_system_gets_the_same_requests(arrivals: str) -> None:
    asked = replace(SMALL, arrivals=arrivals)
    rows = rows_of(asked)
    assert len(rows) == NUM_REQUESTS
    assert rows == rows_of(replace(asked, model="llama-2-70b", system="faasnet"))


def test_every_system_and_policy_is_a_cluster() -> None:
    for system in SYSTEMS:
        assert spec_of(replace(SMALL, system=system)).provenance == "simulated"
    for policy in POLICIES:
        assert spec_of(replace(SMALL, policy=policy)).policy.idle_s == SMALL.idle_s
    for engine in ENGINES:
        assert spec_of(replace(SMALL, engine=engine)).in_flight


def test_a_node_of_70b_counts_four_gpus() -> None:
    large = answer(replace(SMALL, model="llama-2-70b", num_nodes=2))
    seconds = (large.result.allocations["until_s"] - large.result.allocations["from_s"]).sum()
    assert large.gpu_s >= 4 * seconds


def test_nodes_are_counted_at_the_same_moment() -> None:
    intervals = pd.DataFrame({"from_s": [0.0, 1.0, 2.0], "until_s": [1.0, None, 3.0]})
    result = replace(answer(SMALL).result, allocations=intervals)
    assert most_at_once(result) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_nodes": 0}, "nodes is 0; use 2 to 32"),
        ({"model": "gpt"}, "model is 'gpt'; use one of smollm2-135m"),
        ({"system": "magic"}, "system is 'magic'"),
        ({"link_gbps": 0}, "link_gbps is 0; it must be above 0"),
        ({"idle_s": -1}, "idle_s is -1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **changes)


def test_the_first_answer_is_shown_at_once(box: WhatIfBox) -> None:
    assert bytes(box.told.image.value).startswith(b"\x89PNG")
    assert "first token, P90" in box.told.line.value
    assert "image/png" in box._repr_mimebundle_()
    assert len(numbers_text(answer(SMALL)).splitlines()) == 6


def test_a_change_shows_the_answer_before_beside_it() -> None:
    box = WhatIfBox(SMALL)
    image = box.told.image.value
    assert "before" not in box.told.line.value
    box.num_nodes.value = 2
    assert "before" in box.told.line.value
    assert box.told.image.value != image


def test_no_nodes_is_a_line_and_goes_away_again(box: WhatIfBox) -> None:
    line = box.told.line.value
    box.num_nodes.value = 0
    assert "nodes is 0; use 2 to 32" in box.told.line.value
    assert box.told.image.layout.display == "none"
    assert "text/html" in box._repr_mimebundle_()
    box.num_nodes.value = SMALL.num_nodes
    assert (box.told.line.value, box.told.image.layout.display) == (line, None)
