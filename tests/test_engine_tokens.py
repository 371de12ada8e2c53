"""The central promise: whatever the batch, the chunks and the stages, the tokens are those of generate."""

import asyncio
from pathlib import Path

import pytest
from engine_driver import mixed_requests, pipeline, reference, reference_model, serve
from tiny import TinyModel

from lambdascale.engine.base import EngineLimits
from lambdascale.model.catalogue import load_packed
from lambdascale.model.packed import PackedModel
from lambdascale.workload.request import Request

LIMITS = EngineLimits(max_slots=9, max_length=96, max_step_tokens=40)

MODELS = {
    "llama": ("llama", False, {}),
    "llama-tied": ("llama", True, {}),
    "mistral-window": ("mistral", False, {"sliding_window": 12}),
    "qwen2-window": (
        "qwen2",
        True,
        {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 2},
    ),
    "qwen3": ("qwen3", False, {}),
    "qwen3-tied": ("qwen3", True, {}),
}


def run(packed: PackedModel, cuts: list[int], requests: list[Request]) -> dict[int, list[int]]:
    async def main() -> dict[int, list[int]]:
        async with pipeline(packed, cuts, LIMITS) as stages:
            return await serve(stages, LIMITS, requests)

    return asyncio.run(main())


def make(tiny_model: TinyModel, name: str) -> Path:
    arch, tied, config = MODELS[name]
    return tiny_model(arch, tied=tied, num_hidden_layers=4, **config)


@pytest.mark.parametrize("name", MODELS)
def test_batched_and_split_at_every_boundary_the_tokens_are_those_of_generate(
    tiny_model: TinyModel, tmp_path: Path, name: str
) -> None:
    folder = make(tiny_model, name)
    packed = load_packed(str(folder), "float32", tmp_path)
    requests = mixed_requests(26, vocabulary=512, longest=61, max_tokens=11)
    model = reference_model(folder)
    expected = {request.id: reference(model, request) for request in requests}
    for cuts in ([], [1], [2], [3], [4], [5], [1, 3], [1, 2, 3, 4, 5]):
        assert run(packed, cuts, requests) == expected, cuts
