"""The device that emulated nodes pretend to be: slow enough that a few cores can keep its pace.

Several agents share the cores of one machine. If every agent's steps take at least
SLACK × nodes × step ÷ cores, the cores are never the limit, and each node behaves as a device of its own.
"""

import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lambdascale.cluster.tags import GPU, KV
from lambdascale.engine.base import Chunk, Engine, EngineLimits, Pick, Step
from lambdascale.engine.device import DeviceModel
from lambdascale.engine.torch_engine import TorchEngine
from lambdascale.experiments.run import in_thread
from lambdascale.model.layout import DTYPE_BYTES, ImageLayout
from lambdascale.model.packed import PackedModel
from lambdascale.storage.files import FileStorage
from lambdascale.transport.registry import open_transport
from lambdascale.workload.request import Sampling

SLACK = 2.0  # a step beside others is slower than alone: cores share memory bandwidth and caches
PREFILL_TOKENS = 64
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Point:
    """A step of `num_tokens` tokens through the whole model, of which `num_rows` are sampled."""

    num_tokens: int
    num_rows: int
    seconds: float


def emulated_device(packed: PackedModel, num_nodes: int, max_slots: int) -> DeviceModel:
    """Measure this machine's steps on one thread and return the device that `num_nodes` can emulate.

    A decode step of `max_slots` sequences and a prefill of PREFILL_TOKENS tokens (or as many as the
    model's context has) each take at least SLACK × nodes ÷ cores (at least SLACK) times as long.
    """
    share = SLACK * max(1.0, num_nodes / len(os.sched_getaffinity(0)))
    decode, prefill = measured(packed, max_slots)
    slowed = [replace(point, seconds=point.seconds * share) for point in (decode, prefill)]
    return device_through(packed.layout, *slowed)


def device_through(layout: ImageLayout, one: Point, other: Point) -> DeviceModel:
    """Return the device on which both steps take exactly their seconds.

    Where no roofline can do that, one of them takes longer, by as little as possible.
    """
    few, many = sorted((one, other), key=lambda point: point.num_tokens)
    knee = max(few.num_tokens, _knee(layout, few, many))
    unit = _roofline(layout, knee, 1.0)
    byte_s = max(point.seconds / _charged(unit, layout, point) for point in (few, many))
    return _roofline(layout, knee, 1 / byte_s)


def _knee(layout: ImageLayout, few: Point, many: Point) -> float:
    """How many tokens take as long to compute as the weights to read, if `few` only waits for reads."""
    head = layout.part_nbytes(0) if layout.tied else 0
    layers = layout.nbytes - layout.part_nbytes(0)
    once = head if many.num_rows == 1 else 0  # bytes that meet a single row
    longer = max(1.0, many.seconds / few.seconds)
    return (layers + head - once) * many.num_tokens / (longer * (layers + head) - once)


def _roofline(layout: ImageLayout, knee: float, bandwidth: float) -> DeviceModel:
    return DeviceModel(bandwidth, flops=2 * knee * bandwidth / DTYPE_BYTES[layout.dtype])


def _charged(device: DeviceModel, layout: ImageLayout, point: Point) -> float:
    """Seconds that `device` takes for a step."""
    forward_s = device.forward_s(layout, 0, layout.num_parts, point.num_tokens)
    return forward_s + device.sample_s(layout, point.num_rows)


def measured(packed: PackedModel, max_slots: int) -> tuple[Point, Point]:
    """Measure a decode step with all slots busy, and a prefill."""
    points: list[tuple[Point, Point]] = []

    async def measure() -> None:
        points.append(await _measure(packed, max_slots))

    in_thread(measure())
    return points[0]


async def _measure(packed: PackedModel, max_slots: int) -> tuple[Point, Point]:
    transport = await open_transport("shm", 0, secrets.token_bytes(16), float("inf"))
    engine, storage = TorchEngine(), FileStorage()
    try:
        layout, length = packed.layout, min(PREFILL_TOKENS, packed.shape.context_length)
        image = await transport.register(GPU, layout.nbytes)
        await storage.load(packed.image, 0, image, 0, layout.nbytes)
        limits = EngineLimits(max_slots, length, max(length, max_slots))
        await engine.prepare(layout, packed.config, limits)
        await engine.attach(image, 0, await transport.register(KV, engine.kv.nbytes))
        decode = [Chunk(slot, 0, 1, True) for slot in range(max_slots)]
        decode_s = await _fastest(engine, layout.num_parts, decode)
        prefill_s = await _fastest(engine, layout.num_parts, [Chunk(0, 0, length, True)])
        return Point(max_slots, max_slots, decode_s), Point(length, 1, prefill_s)
    finally:
        await storage.close()
        await engine.close()
        await transport.close()


async def _fastest(engine: Engine, num_parts: int, chunks: Sequence[Chunk]) -> float:
    """Seconds of the fastest of REPEATS steps, after one to warm up."""
    return min([await _step(engine, num_parts, chunks) for _ in range(1 + REPEATS)][1:])


async def _step(engine: Engine, num_parts: int, chunks: Sequence[Chunk]) -> float:
    started = time.perf_counter()
    tokens = [1] * sum(chunk.length for chunk in chunks)
    rows = await engine.forward(Step(0, num_parts, chunks, tokens=tokens))
    await engine.sample(rows, [Pick(c.slot, c.start, Sampling()) for c in chunks if c.emit])
    return time.perf_counter() - started
