"""Real agents, real bytes, real tokens: the promise of exactness, and one scenario on both clocks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from engine_driver import reference, reference_model
from tiny import TinyModel

from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.run import run
from lambdascale.experiments.simulated import symbolic_inputs
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.model.checksum import block_checksums
from lambdascale.model.image import ImageSource
from lambdascale.model.packed import PackedModel
from lambdascale.model.text import Tokenizer
from lambdascale.workload.request import Request, Sampling

pytestmark = pytest.mark.alone

SAMPLED = Sampling(temperature=0.8, top_k=40, top_p=0.95, seed=3)
LOAD_S = 2.0  # of a full load in the scenario that both clocks run
STEP_S = 0.25  # of a decode step: 12 of them outlast what is left of the load when pipelines form


def inputs_of(packed: PackedModel, num_blocks: int, requests: Sequence[Request]) -> Inputs:
    checksums = block_checksums(packed, num_blocks)
    return Inputs(ImageSource.of(packed, checksums), requests)


def tiny_requests(count: int, max_tokens: int) -> tuple[Request, ...]:
    return tuple(
        Request(i, tuple((i * 41 + 7 * j) % 500 for j in range(2 + (5 * i) % 19)), max_tokens)
        for i in range(count)
    )


def observed(result: RunResult) -> dict[str, object]:
    """What must be the same on both clocks: who gets which block when, pipelines and switches."""
    blocks = result.blocks.sort_values("verified_s")
    stages = result.pipelines[["kind", "node", "first", "stop"]]
    return {
        "order": {int(n): list(g["block"]) for n, g in blocks.groupby("node")},
        "sources": {int(n): set(g["src"]) for n, g in blocks.groupby("node")},
        "pipelines": stages[stages["kind"] == "pipeline"].values.tolist(),
        "last block": blocks.groupby("node")["block"].last().to_dict(),
        "dissolved before": list(
            result.pipelines[result.pipelines["kind"] == "pipeline"]["dissolved_s"]
            <= result.nodes.set_index("node")["switched_s"][[2, 3]].min()
        ),
        "roles": result.nodes[["node", "role"]].values.tolist(),
    }


def test_one_scenario_takes_the_same_course_on_both_clocks(tiny_model: TinyModel):
    folder = tiny_model("llama")
    packed = load_packed(str(folder), "float32")
    spec = RunSpec(
        model=str(folder),
        scale=ScaleSpec(num_sources=2, num_nodes=4, num_blocks=16, max_slots=4),
        link_gbps=packed.layout.nbytes * 8 / LOAD_S / 1e9,
        device=DeviceModel(bandwidth=packed.layout.nbytes / 0.04, flops=1e12),
    )
    requests = tiny_requests(24, max_tokens=24)
    real = run(spec, inputs=inputs_of(packed, 16, requests))
    virtual_spec = replace(spec, clock="virtual")
    image = symbolic_inputs(virtual_spec).image
    virtual = run(virtual_spec, inputs=Inputs(image, requests))
    assert observed(real) == observed(virtual)
    assert observed(real)["pipelines"], "a pipeline serves while blocks are in flight"
    model = reference_model(folder)
    assert real.outputs() == {r.id: tuple(reference(model, r)) for r in requests}
    assert real.phase_s("complete") == pytest.approx(virtual.phase_s("complete"), rel=0.1)
    for result in (real, virtual):
        assert (result.tokens["kind"] == "pipeline").any()


def test_smollm2_gives_the_tokens_of_generate_through_pipelines_and_switches(smollm2: PackedModel):
    """24 concurrent prompts of different lengths over TCP, every second one sampled."""
    text = "Tell me, in a few words or in many, what a neural network is and is not good for."
    words = text.split()
    tokenizer = Tokenizer(smollm2)
    prompts = [" ".join(words[i % 7 : i % 7 + 1 + i % 11]) for i in range(24)]
    requests = tuple(
        Request(
            i, tokenizer.encode_chat(prompt), 12, (Sampling(), SAMPLED)[i % 2], tokenizer.stop_ids
        )
        for i, prompt in enumerate(prompts)
    )
    scale = ScaleSpec(num_sources=2, num_nodes=4, num_blocks=16, max_slots=4)
    device = DeviceModel(bandwidth=smollm2.layout.nbytes / STEP_S, flops=1e12)
    spec = RunSpec(transport="tcp", scale=scale, link_gbps=1.0, device=device)
    result = run(spec, inputs=inputs_of(smollm2, 16, requests))
    kinds = result.tokens.groupby("request")["kind"].agg(set)
    assert {"pipeline", "replica"} in list(kinds), "some request was carried over by a mode switch"
    model = reference_model(smollm2.folder)
    assert result.outputs() == {r.id: tuple(generated(model, r)) for r in requests}


def generated(model: object, request: Request) -> list[int]:
    """The tokens of generate up to and including the first stop token."""
    tokens = reference(model, request)
    stops = [i for i, token in enumerate(tokens) if token in request.stop]
    return tokens[: stops[0] + 1] if stops else tokens


@pytest.mark.parametrize(("arch", "tied"), [("mistral", False), ("qwen2", True), ("qwen3", False)])
def test_other_architectures_scale_out_exactly(tiny_model: TinyModel, arch: str, tied: bool):
    folder: Path = tiny_model(arch, tied=tied)
    packed = load_packed(str(folder), "float32")
    spec = RunSpec(
        model=str(folder),
        system=SystemSpec(window=2),
        scale=ScaleSpec(num_sources=2, num_nodes=5, num_blocks=16, max_slots=2),
        link_gbps=packed.layout.nbytes * 8 / 0.8 / 1e9,
    )
    requests = tiny_requests(20, max_tokens=12)
    result = run(spec, inputs=inputs_of(packed, 16, requests))
    model = reference_model(folder)
    assert result.outputs() == {r.id: tuple(reference(model, r)) for r in requests}
