"""The device that emulated nodes pretend to be: slow enough that a few cores can keep its pace.

Several agents share the cores of one machine. If every agent's steps take at least
SLACK × nodes × step ÷ cores, the cores are never the limit, and each node behaves as a device of its own.
"""

import os
import secrets
import time

from lambdascale.cluster.tags import IMAGE
from lambdascale.engine.base import Chunk, Engine, EngineLimits, Pick, Step
from lambdascale.engine.device import DeviceModel
from lambdascale.engine.torch_engine import TorchEngine
from lambdascale.experiments.run import in_thread
from lambdascale.model.layout import DTYPE_BYTES
from lambdascale.model.packed import PackedModel
from lambdascale.storage.files import FileStorage
from lambdascale.transport.registry import open_transport
from lambdascale.workload.request import Sampling

SLACK = 1.5
PREFILL_TOKENS = 64
REPEATS = 3


def emulated_device(packed: PackedModel, num_nodes: int, max_slots: int) -> DeviceModel:
    """Measure this machine's steps on one thread and return the device that `num_nodes` can emulate.

    Two points fix the roofline: a decode step of `max_slots` sequences and a prefill of
    PREFILL_TOKENS tokens, each scaled by SLACK × nodes ÷ cores (at least SLACK).
    """
    measured: list[tuple[float, float]] = []

    async def measure() -> None:
        measured.append(await _measure(packed, max_slots))

    in_thread(measure())
    decode_s, prefill_s = measured[0]
    share = SLACK * max(1.0, num_nodes / len(os.sched_getaffinity(0)))
    layout = packed.layout
    num_weights = layout.nbytes // DTYPE_BYTES[layout.dtype]
    return DeviceModel(
        bandwidth=layout.nbytes / (decode_s * share),
        flops=2 * num_weights * PREFILL_TOKENS / (prefill_s * share),
    )


async def _measure(packed: PackedModel, max_slots: int) -> tuple[float, float]:
    """Seconds of a decode step with all slots busy, and of a prefill of PREFILL_TOKENS tokens."""
    transport = await open_transport("shm", 0, secrets.token_bytes(16), float("inf"))
    engine, storage = TorchEngine(), FileStorage()
    try:
        layout = packed.layout
        image = await transport.register(IMAGE, layout.nbytes)
        await storage.load(packed.image, 0, image, 0, layout.nbytes)
        limits = EngineLimits(max_slots, PREFILL_TOKENS + REPEATS, PREFILL_TOKENS)
        await engine.prepare(layout, packed.config, image, limits)
        prefill = [Chunk(0, 0, PREFILL_TOKENS, True)]
        prefill_s = min([await _step(engine, layout.num_parts, prefill) for _ in range(REPEATS)])
        for slot in range(max_slots):
            await _step(engine, layout.num_parts, [Chunk(slot, 0, 1, True)])
        decodes = [
            [Chunk(slot, 1 + i, 1, True) for slot in range(max_slots)] for i in range(REPEATS)
        ]
        decode_s = min([await _step(engine, layout.num_parts, chunks) for chunks in decodes])
        return decode_s, prefill_s
    finally:
        await storage.close()
        await engine.close()
        await transport.close()


async def _step(engine: Engine, num_parts: int, chunks: list[Chunk]) -> float:
    started = time.perf_counter()
    tokens = [1] * sum(chunk.length for chunk in chunks)
    rows = await engine.forward(Step(0, num_parts, chunks, tokens=tokens))
    await engine.sample(rows, [Pick(c.slot, c.start, Sampling()) for c in chunks if c.emit])
    return time.perf_counter() - started
