"""Seconds of engine steps on one thread: decode through more and more layers, prefill of more tokens."""

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lambdascale.cluster.tags import GPU, KV
from lambdascale.engine.base import Chunk, EngineLimits, Step
from lambdascale.engine.torch_engine import TorchEngine
from lambdascale.model.packed import PackedModel
from lambdascale.storage.files import FileStorage
from lambdascale.transport.registry import open_transport

LENGTHS = (32, 64, 128)  # tokens of a prefill: enough for computing to take longer than reading
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the layers


def stops_of(packed: PackedModel) -> list[int]:
    """Return where the ranges of layers end that decode steps go through."""
    return [1 + max(1, round(share * packed.layout.num_layers)) for share in SHARES]


def decode_and_prefill(packed: PackedModel, rounds: int) -> tuple[list[float], list[float]]:
    """Return median seconds of a decode step through each of `stops_of`, and of a prefill of each length."""
    return asyncio.run(_decode_and_prefill(packed, rounds))


async def _decode_and_prefill(packed: PackedModel, rounds: int) -> tuple[list[float], list[float]]:
    whole = packed.layout.num_parts
    decodes = [Step(0, stop, [Chunk(0, 0, 1, False)], [1]) for stop in stops_of(packed)]
    prefills = [Step(0, whole, [Chunk(0, 0, n, False)], [1] * n) for n in LENGTHS]
    async with _engine(packed) as engine:
        times = []
        for _ in range(1 + rounds):
            times.append([await _seconds(engine, step) for step in (*decodes, *prefills)])
    medians = [statistics.median(each) for each in zip(*times[1:], strict=True)]
    return medians[: len(decodes)], medians[len(decodes) :]


async def _seconds(engine: TorchEngine, step: Step) -> float:
    began = time.perf_counter()
    await engine.forward(step)
    return time.perf_counter() - began


@asynccontextmanager
async def _engine(packed: PackedModel) -> AsyncIterator[TorchEngine]:
    """An engine over a shared-memory region that holds the whole model."""
    transport = await open_transport("shm", 0, secrets.token_bytes(16))
    engine, storage = TorchEngine(), FileStorage()
    try:
        image = await transport.register(GPU, packed.layout.nbytes)
        await storage.load(packed.image, 0, image, 0, packed.layout.nbytes)
        await engine.prepare(
            packed.layout, packed.config, EngineLimits(1, max(LENGTHS), max(LENGTHS))
        )
        await engine.attach(image, 0, await transport.register(KV, engine.kv.nbytes))
        yield engine
    finally:
        await engine.close()
        await storage.close()
        await transport.close()
