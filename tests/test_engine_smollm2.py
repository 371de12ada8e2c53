"""The real model through the real engine: 24 prompts together, on two stages, token for token."""

import asyncio

from engine_driver import pipeline, reference, reference_model, serve

from lambdascale.engine.base import EngineLimits
from lambdascale.model.packed import PackedModel
from lambdascale.model.text import Tokenizer
from lambdascale.workload.request import Request, Sampling

LIMITS = EngineLimits(max_slots=16, max_length=128, max_step_tokens=48)

STARTS = (
    "The capital of France is",
    "Once upon a time there was a little dragon who",
    "def fibonacci(n):",
    "Water boils at a temperature of one hundred degrees, because",
    "Dear Sir or Madam,",
    "The three primary colours are red,",
)


def requests_of(tokenizer: Tokenizer) -> list[Request]:
    """Prompts of 4 to 60 tokens, every other one sampled, two or three tokens each."""
    prompts = [tokenizer.encode(start * (1 + i)) for i in range(4) for start in STARTS]
    kinds = (Sampling(), Sampling(0.9, top_k=40, top_p=0.95, seed=3))
    return [
        Request(i, prompt[:60], max_tokens=2 + i % 2, sampling=kinds[i % 2])
        for i, prompt in enumerate(prompts)
    ]


def test_24_prompts_of_smollm2_on_two_stages_give_the_tokens_of_generate(
    smollm2: PackedModel,
) -> None:
    requests = requests_of(Tokenizer(smollm2))

    async def main() -> dict[int, list[int]]:
        async with pipeline(smollm2, [17], LIMITS) as stages:
            return await serve(stages, LIMITS, requests)

    produced = asyncio.run(main())
    model = reference_model(smollm2.folder)
    assert produced == {request.id: reference(model, request) for request in requests}
    assert Tokenizer(smollm2).decode(produced[0]).startswith(" Paris")
