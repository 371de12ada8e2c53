"""Batching bench: the engine against `transformers` on the same weights, one process, one thread.

    backlog   48 requests of many lengths: continuous batching over 16 slots against generate in
              left-padded batches of 16 in order of arrival, each until its longest request is done
    step      one decode step of 16 sequences of equal length, against the model with a DynamicCache

Only requested tokens count. Both sides get the same work in the same run, so the ratios are what to read.
"""

import argparse
import asyncio
import dataclasses
import json
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, GenerationConfig
from transformers.utils.logging import disable_progress_bar

from lambdascale.cluster.batch import MicroBatch
from lambdascale.cluster.tags import GPU, KV
from lambdascale.engine.base import Chunk, EngineLimits, Pick, Step
from lambdascale.engine.torch_engine import TorchEngine
from lambdascale.model.catalogue import load_packed
from lambdascale.model.packed import PackedModel
from lambdascale.model.text import Tokenizer
from lambdascale.storage.files import FileStorage
from lambdascale.transport.registry import open_transport
from lambdascale.units import milliseconds
from lambdascale.workload.request import Request, Sampling

BATCH = 16
NUM_REQUESTS = 48
PROMPT_TOKENS = (8, 128)
OUTPUT_TOKENS = (8, 96)
STEP_PROMPT = 64
STEPS = 24
ROUNDS = 3
LIMITS = EngineLimits(BATCH, max_length=256, max_step_tokens=256)

TEXT = """A model is needed on eight machines and lies on one. The first machine cuts it into blocks and
sends a different block to each neighbour, and the neighbours pass on what they have while more is coming.
Long before the last block has arrived, some machines hold the first layers and others the last ones, and
together they can answer. A question enters where the first layers are, travels once through the group and
comes back as a word. When a machine has everything, it goes on alone; nobody who asked notices the change.
The harbour wakes before the town does. Boats come in with the tide, and men in yellow coats carry crates of
silver fish over the wet stones. A cat waits, as it does every morning, at the third door on the left."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Tokens/s of the backlog, ms of a step, each ours and of transformers; ratios above 1 favour us.

    `same_tokens` is the share of greedy tokens that come before the first difference to transformers.
    """

    dtype: str
    backlog_tokens_per_s: float
    reference_tokens_per_s: float
    step_ms: float
    reference_step_ms: float
    same_tokens: float

    @property
    def backlog_ratio(self) -> float:
        return self.backlog_tokens_per_s / self.reference_tokens_per_s

    @property
    def step_ratio(self) -> float:
        return self.reference_step_ms / self.step_ms


def measure(dtype: str) -> Batching:
    """Run both benches in `dtype` on one thread."""
    torch.set_num_threads(1)
    packed = load_packed("smollm2-135m", dtype)
    model = AutoModelForCausalLM.from_pretrained(packed.folder, dtype=getattr(torch, dtype)).eval()
    model.generation_config = GenerationConfig(pad_token_id=0)
    requests = backlog(packed)
    reference_s, expected = _reference_backlog(model, requests)
    ours_s, produced, steps = asyncio.run(_ours(packed, requests, model))
    num_tokens = sum(request.max_tokens for request in requests)
    same = sum(_common(produced[request.id], expected[request.id]) for request in requests)
    return Batching(
        dtype, num_tokens / ours_s, num_tokens / reference_s, *steps, same_tokens=same / num_tokens
    )


def backlog(packed: PackedModel) -> list[Request]:
    """Requests with uniformly drawn lengths, all waiting at the start; the seed is fixed."""
    ids, draw = Tokenizer(packed).encode(TEXT), random.Random(16)
    requests = []
    for i in range(NUM_REQUESTS):
        length, begin = draw.randint(*PROMPT_TOKENS), draw.randrange(len(ids))
        prompt = (ids[begin:] + ids)[:length]
        requests.append(Request(i, prompt, draw.randint(*OUTPUT_TOKENS)))
    return requests


async def _ours(
    packed: PackedModel, requests: Sequence[Request], model: Any
) -> tuple[float, dict[int, list[int]], tuple[float, float]]:
    async with _engine(packed) as engine:
        stop = packed.layout.num_parts
        started = time.perf_counter()
        produced = await _serve(engine, stop, requests)
        backlog_s = time.perf_counter() - started
        prompt = list(requests[0].prompt) * STEP_PROMPT
        rounds = [
            (await _step_s(engine, stop, prompt[:STEP_PROMPT]), _reference_step_s(model, prompt))
            for _ in range(ROUNDS)
        ]
    ours, reference = (milliseconds(min(seconds)) for seconds in zip(*rounds, strict=True))
    return backlog_s, produced, (ours, reference)


@asynccontextmanager
async def _engine(packed: PackedModel) -> AsyncIterator[TorchEngine]:
    """An engine over a shared-memory region that holds the whole model."""
    transport = await open_transport("shm", 0, secrets.token_bytes(16), float("inf"))
    engine, storage = TorchEngine(), FileStorage()
    try:
        image = await transport.register(GPU, packed.layout.nbytes)
        await storage.load(packed.image, 0, image, 0, packed.layout.nbytes)
        await engine.prepare(packed.layout, packed.config, LIMITS)
        await engine.attach(image, 0, await transport.register(KV, engine.kv.nbytes))
        yield engine
    finally:
        await engine.close()
        await storage.close()
        await transport.close()


async def _serve(
    engine: TorchEngine, stop: int, requests: Sequence[Request]
) -> dict[int, list[int]]:
    """Serve all requests by continuous batching, oldest first."""
    batch, waiting = MicroBatch(range(BATCH)), list(requests)
    produced: dict[int, list[int]] = {request.id: [] for request in requests}
    while waiting or len(batch):
        while waiting and not batch.full:
            batch.admit(waiting.pop(0), ())
        step = batch.compose(LIMITS.max_step_tokens)
        rows = await engine.forward(Step(0, stop, step.chunks, step.tokens))
        ids = await engine.sample(rows, step.picks) if step.picks else []
        for output in batch.commit(step, [ids]):
            produced[output.request].extend(output.tokens)
    return produced


def _reference_backlog(
    model: Any, requests: Sequence[Request]
) -> tuple[float, dict[int, list[int]]]:
    produced: dict[int, list[int]] = {}
    started = time.perf_counter()
    for first in range(0, len(requests), BATCH):
        group = requests[first : first + BATCH]
        width = max(len(request.prompt) for request in group)
        padding = [width - len(request.prompt) for request in group]
        prompts = [[0] * p + list(r.prompt) for p, r in zip(padding, group, strict=True)]
        mask = [[0] * p + [1] * (width - p) for p in padding]
        output = model.generate(
            torch.tensor(prompts),
            attention_mask=torch.tensor(mask),
            max_new_tokens=max(request.max_tokens for request in group),
            do_sample=False,
        )
        for request, row in zip(group, output[:, width:].tolist(), strict=True):
            produced[request.id] = row[: request.max_tokens]
    return time.perf_counter() - started, produced


async def _step_s(engine: TorchEngine, stop: int, prompt: Sequence[int]) -> float:
    """Seconds per decode step of BATCH sequences that start with `prompt`."""
    for slot in range(BATCH):
        await engine.forward(Step(0, stop, [Chunk(slot, 0, len(prompt), False)], prompt))
    tokens = [1] * BATCH
    started = time.perf_counter()
    for i in range(STEPS):
        chunks = [Chunk(slot, len(prompt) + i, 1, True) for slot in range(BATCH)]
        rows = await engine.forward(Step(0, stop, chunks, tokens))
        tokens = await engine.sample(rows, [Pick(slot, i, Sampling()) for slot in range(BATCH)])
    return (time.perf_counter() - started) / STEPS


@torch.inference_mode()
def _reference_step_s(model: Any, prompt: Sequence[int]) -> float:
    cache = DynamicCache(config=model.config)
    model(torch.tensor([prompt[:STEP_PROMPT]] * BATCH), past_key_values=cache, logits_to_keep=1)
    tokens = torch.ones(BATCH, 1, dtype=torch.long)
    started = time.perf_counter()
    for _ in range(STEPS):
        tokens = model(tokens, past_key_values=cache).logits[:, -1:].argmax(-1)
    return (time.perf_counter() - started) / STEPS


def _common(ours: Sequence[int], reference: Sequence[int]) -> int:
    """How many tokens come before the first difference."""
    pairs = enumerate(zip(ours, reference, strict=True))
    return next((i for i, (a, b) in pairs if a != b), len(ours))


def _line(result: Batching) -> str:
    return (
        f"{result.dtype:9}"
        f"  backlog {result.backlog_tokens_per_s:6.1f} / {result.reference_tokens_per_s:6.1f} tokens/s"
        f" = {result.backlog_ratio:.2f} x"
        f"  step {result.step_ms:6.1f} / {result.reference_step_ms:6.1f} ms = {result.step_ratio:.2f} x"
        f"  same tokens {result.same_tokens:.1%}"
    )


def main() -> None:
    """Print one line per dtype, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print a list of results")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"])
    arguments = parser.parse_args()
    disable_progress_bar()
    results = [measure(dtype) for dtype in arguments.dtype]
    if arguments.json:
        extra = [{"backlog_ratio": r.backlog_ratio, "step_ratio": r.step_ratio} for r in results]
        found = [dataclasses.asdict(r) | e for r, e in zip(results, extra, strict=True)]
        print(json.dumps(found, indent=2))
    else:
        print("ours / transformers, one thread", *map(_line, results), sep="\n")


if __name__ == "__main__":
    main()
