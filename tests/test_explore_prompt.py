"""A typed prompt: each token is told with its server and what that held; what cannot be served is a line."""

from dataclasses import replace

import pytest
from tiny import TinyModel

from lambdascale.cluster.records import BlockRecord, PipelineRecord, TokenRecord
from lambdascale.errors import ConfigError
from lambdascale.explore.prompt import Ask
from lambdascale.explore.served import Served, answer_html, half_loaded, servers_html
from lambdascale.explore.typed import Stage
from lambdascale.pipeline import stages

TEXT = "é <b>"


@pytest.fixture
def stage(tiny_model: TinyModel) -> Stage:
    """Two sources and two nodes to come, in virtual time; a full load takes 0.26 s, a step 5 ms."""
    real = Stage.of(str(tiny_model("llama")), 2, 4, link_gbps=0.02, step_ms=5, max_tokens=40)
    return replace(real, spec=replace(real.spec, clock="virtual"))


@pytest.fixture
def served(stage: Stage) -> Served:
    """Half of the model arrives at nodes 2 and 3, which serve three tokens, and node 2 the rest."""
    served = Served(7, num_sources=2, num_blocks=4, tokenizer=stage.tokenizer)
    for node, block in ((2, 0), (2, 1), (3, 2), (3, 3)):
        served.see(BlockRecord(node, block, 0, 0.1, 0.1))
    half = stages.Stage(2, 0, 4), stages.Stage(3, 4, 8)
    served.see(PipelineRecord(0, "pipeline", half, 0.2, True))
    served.see(PipelineRecord(1, "replica", (stages.Stage(2, 0, 8),), 0.5, True))
    ids = stage.tokenizer.encode(TEXT)
    for i, token in enumerate(ids):
        if i == 3:
            served.see(BlockRecord(2, 2, 0, 0.4, 0.4))
            served.see(BlockRecord(2, 3, 0, 0.5, 0.5))
        kind = "pipeline" if i < 3 else "replica"
        last = i == len(ids) - 1
        served.see(TokenRecord(7, i, token, 0.3 + i / 10, 2, kind == "replica", kind, last))
        served.see(TokenRecord(8, i, token, 0.3, 0, 9, "replica", False))
    return served


def test_each_token_is_told_with_its_server_and_what_it_held(served: Served) -> None:
    pieces = served.pieces
    assert "".join(piece.text for piece in pieces) == TEXT
    assert [piece.server.name for piece in pieces] == ["pipeline 2+3"] * 3 + ["replica 2"] * 3
    assert [piece.held for piece in pieces[2:4]] == [((2, 0.5), (3, 0.5)), ((2, 1.0),)]
    assert half_loaded(pieces) == 3


def test_tokens_are_coloured_by_server_and_their_text_is_escaped(served: Served) -> None:
    html = answer_html(served.pieces)
    colors = {piece.server.color for piece in served.pieces}
    assert len(colors) == 2
    assert [html.count(f"background: {color}") for color in sorted(colors)] == [3, 3]
    assert "&lt;" in html
    assert "<b>" not in html
    assert (
        "token 1 after 0.30 s by pipeline 2+3: node 2 held 50 % of the model, node 3 50 %" in html
    )
    legend = servers_html(served.pieces)
    assert "3 tokens, 0.30 to 0.50 s; at first node 2 held 50 % of the model" in legend


def test_an_answer_that_has_not_begun_is_dots() -> None:
    assert "…" in answer_html([])
    assert servers_html([]) == ""


def test_the_typed_prompt_is_served_by_nodes_that_are_still_loading(stage: Stage) -> None:
    asked = Ask(stage, "Hello?")
    asked.serve()
    assert "of 40 tokens came from nodes of which none held the whole model" in asked.line.value
    assert not asked.line.value.startswith("0 of")
    assert "pipeline 2+3" in asked.answer.value
    assert asked.result is not None
    assert list(asked.result.requests["output_tokens"])[-1] == 40
    bundle = asked._repr_mimebundle_()
    assert asked.answer.value in str(bundle["text/html"])


def test_another_prompt_is_another_answer(stage: Stage) -> None:
    asked = Ask(stage, "Hello?")
    asked.serve()
    before = asked.answer.value
    asked.prompt.value = "Something else"
    assert asked.answer.value != before
    assert not asked.prompt.disabled


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("  ", "the prompt is empty; type a question"),
        ("x" * 250, "the prompt has 250 tokens, but 216 fit beside an answer of 40; shorten it"),
    ],
)
def test_what_cannot_be_served_is_one_line(stage: Stage, prompt: str, message: str) -> None:
    asked = Ask(stage, "Hello?")
    asked.prompt.value = prompt
    assert message in asked.line.value
    assert len(asked.line.value.splitlines()) == 1
    assert asked.answer.value == ""
    assert not asked.prompt.disabled


def test_a_pace_of_nothing_is_refused(tiny_model: TinyModel) -> None:
    with pytest.raises(ConfigError, match="step_ms is 0"):
        Stage.of(str(tiny_model("llama")), 2, 4, link_gbps=1, step_ms=0, max_tokens=4)
