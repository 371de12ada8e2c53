"""What the engine's tests share: a region, stages over one model, a serving loop, and the reference.

The reference is `transformers` generate, one request at a time. The serving loop is the cluster's own
continuous batching.
"""

import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from transformers import AutoModelForCausalLM, GenerationConfig, LogitsProcessor

from lambdascale.cluster.batch import MicroBatch
from lambdascale.engine.base import Engine, EngineLimits, Step
from lambdascale.engine.sampling import draw_key
from lambdascale.engine.torch_engine import TorchEngine
from lambdascale.model.packed import PackedModel
from lambdascale.transport.base import Region
from lambdascale.workload.request import Request, Sampling

Stage = tuple[TorchEngine, int, int]  # runs parts [first, stop)


class Memory:
    """A region in plain memory."""

    def __init__(self, nbytes: int) -> None:
        self.key = 0
        self.nbytes = nbytes
        self.bytes = np.zeros(nbytes, np.uint8)
        self.view = memoryview(self.bytes)

    async def checksum(self, offset: int, nbytes: int) -> int:
        return xxhash.xxh3_64_intdigest(self.view[offset : offset + nbytes])


def load(region: Memory, packed: PackedModel, parts: range | None = None) -> None:
    """Write the parts (all of them by default) of the image of `packed` into `region`."""
    offsets = packed.layout.part_offsets
    low, high = (offsets[parts.start], offsets[parts.stop]) if parts else (0, offsets[-1])
    region.bytes[low:high] = np.fromfile(packed.image, np.uint8, high - low, offset=low)


async def ready(
    engine: Engine,
    packed: PackedModel,
    region: Region,
    limits: EngineLimits,
    offset: int = 0,
    parts: range | None = None,
) -> None:
    """Prepare `engine` and attach it to the image in `region` and to a KV region of its own."""
    await engine.prepare(packed.layout, packed.config, limits)
    await engine.attach(region, offset, Memory(engine.kv.nbytes), parts)


@contextlib.asynccontextmanager
async def pipeline(
    packed: PackedModel, cuts: Sequence[int], limits: EngineLimits
) -> AsyncIterator[list[Stage]]:
    """One engine per range between `cuts`; each region holds only the bytes that its stage needs."""
    bounds = [0, *cuts, packed.layout.num_parts]
    stages: list[Stage] = []
    try:
        for first, stop in itertools.pairwise(bounds):
            region, engine = Memory(packed.layout.nbytes), TorchEngine()
            stages.append((engine, first, stop))
            await ready(engine, packed, region, limits)
            load(region, packed, range(first, stop))
        yield stages
    finally:
        for engine, _, _ in stages:
            await engine.close()


async def serve(
    stages: Sequence[Stage], limits: EngineLimits, requests: Sequence[Request]
) -> dict[int, list[int]]:
    """Serve `requests` by continuous batching; at most one joins per step, while a slot is free."""
    batch, waiting = MicroBatch(range(limits.max_slots)), list(requests)
    produced: dict[int, list[int]] = {request.id: [] for request in requests}
    while waiting or len(batch):
        if waiting and not batch.full:
            batch.admit(waiting.pop(0), ())
        step = batch.compose(limits.max_step_tokens)
        rows = None
        for engine, first, stop in stages:
            tokens = step.tokens if first == 0 else None
            rows = await engine.forward(Step(first, stop, step.chunks, tokens, rows))
        assert rows is not None
        ids = await stages[0][0].sample(rows, step.picks) if step.picks else []
        for output in batch.commit(step, [ids]):
            produced[output.request].extend(output.tokens)
    return produced


class Keyed(LogitsProcessor):
    """Seeds every draw of generate as ours are."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        position = input_ids.shape[1] - len(self._request.prompt)
        torch.manual_seed(draw_key(self._request.sampling.seed, self._request.id, position))
        return scores


def reference_model(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model.generation_config = GenerationConfig(pad_token_id=0)
    return model.eval()


def reference(model: Any, request: Request) -> list[int]:
    """The tokens of generate for one request."""
    sampling = request.sampling
    chosen = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
    prompt = torch.tensor([request.prompt])
    with torch.random.fork_rng():
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.max_tokens,
            logits_processor=[Keyed(request)],
            **(chosen | {"do_sample": True} if sampling.temperature else {"do_sample": False}),
        )
    tokens: list[int] = output[0, len(request.prompt) :].tolist()
    return tokens


def mixed_requests(count: int, vocabulary: int, longest: int, max_tokens: int) -> list[Request]:
    """Prompts of many lengths, in turn greedy, sampled from a warped and from the full distribution."""
    kinds = [Sampling(), Sampling(0.8, top_k=20, top_p=0.9, seed=5), Sampling(1.2, seed=6)]
    random = np.random.default_rng(11)
    return [
        Request(
            id=i,
            prompt=tuple(random.integers(0, vocabulary, 1 + i * 7 % longest).tolist()),
            max_tokens=1 + i * 5 % max_tokens,
            sampling=kinds[i % 3],
        )
        for i in range(count)
    ]
