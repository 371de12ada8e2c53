"""What the torch engine promises besides the tokens: no copies, limits, KV checks, floor, responsiveness."""

import asyncio
import json
import mmap
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest
from engine_driver import Memory, load, ready
from tiny import TinyModel

from lambdascale.engine.base import Chunk, Engine, EngineLimits, Pick, Step, StepCounts
from lambdascale.engine.device import DeviceModel
from lambdascale.engine.torch_engine import TorchEngine
from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.catalogue import load_packed
from lambdascale.model.packed import PackedModel
from lambdascale.workload.request import Sampling

LIMITS = EngineLimits(max_slots=4, max_length=64, max_step_tokens=32)
ALL = 6  # parts of a model with four layers
GREEDY = Sampling()


@pytest.fixture(scope="module")
def packed(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> PackedModel:
    folder = tiny_model("llama", tied=True, num_hidden_layers=4)
    return load_packed(str(folder), "float32", tmp_path_factory.mktemp("cache"))


def with_engine(
    packed: PackedModel,
    body: Callable[[TorchEngine, Memory], Coroutine[Any, Any, None]],
    floor: DeviceModel | None = None,
    limits: EngineLimits = LIMITS,
) -> None:
    """Run `body` with an engine attached to an empty region."""

    async def main() -> None:
        engine, region = TorchEngine(floor=floor), Memory(packed.layout.nbytes)
        try:
            await ready(engine, packed, region, limits)
            await body(engine, region)
        finally:
            await engine.close()

    asyncio.run(main())


async def greedy(engine: Engine, tokens: Sequence[int], start: int, count: int) -> list[int]:
    """Run `tokens` from position `start` in slot 0, then generate `count` tokens."""
    found: list[int] = []
    pending = list(tokens)
    for _ in range(count):
        step = Step(0, ALL, [Chunk(0, start, len(pending), emit=True)], tokens=pending)
        start += len(pending)
        pending = await engine.sample(await engine.forward(step), [Pick(0, len(found), GREEDY)])
        found += pending
    return found


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_two_engines_with_a_slice_each_in_memory_are_the_whole_model(
    packed: PackedModel, cut: int
) -> None:
    """Their regions have room for the slice only; byte 0 of the second one's image lies before its region."""

    async def slice_of(parts: range) -> TorchEngine:
        offsets = packed.layout.part_offsets
        low, high = offsets[parts.start], offsets[parts.stop]
        region, engine = Memory(high - low), TorchEngine()
        await ready(engine, packed, region, LIMITS, -low, parts)
        region.bytes[:] = np.fromfile(packed.image, np.uint8, high - low, offset=low)
        return engine

    async def main() -> None:
        whole, memory = TorchEngine(), Memory(packed.layout.nbytes)
        first, second = await slice_of(range(cut)), await slice_of(range(cut, ALL))
        await ready(whole, packed, memory, LIMITS)
        load(memory, packed)
        chunk = [Chunk(0, 0, 5, emit=True)]
        rows = await first.forward(Step(0, cut, chunk, tokens=[5, 4, 3, 2, 1]))
        rows = await second.forward(Step(cut, ALL, chunk, rows=rows))
        expected = await whole.forward(Step(0, ALL, chunk, tokens=[5, 4, 3, 2, 1]))
        assert np.array_equal(rows, expected)
        picks = [Pick(0, 0, GREEDY)]
        assert await first.sample(rows, picks) == await whole.sample(expected, picks)
        for engine in (whole, first, second):
            await engine.close()

    asyncio.run(main())


def test_a_slice_must_lie_inside_its_region(packed: PackedModel) -> None:
    async def main() -> None:
        engine, offsets = TorchEngine(), packed.layout.part_offsets
        with pytest.raises(ConfigError, match="offset is"):
            await ready(engine, packed, Memory(offsets[2] - 64), LIMITS, 0, range(2))
        with pytest.raises(ConfigError, match="offset is"):
            await ready(engine, packed, Memory(offsets[-1]), LIMITS, -offsets[2], range(1, 3))
        await engine.close()

    asyncio.run(main())


def test_bytes_that_arrive_later_are_in_the_model_without_attaching_again(
    packed: PackedModel,
) -> None:
    async def body(engine: TorchEngine, region: Memory) -> None:
        assert await greedy(engine, [1, 2, 3], 0, 2) == [0, 0]  # an empty model knows nothing
        load(region, packed)
        first = await greedy(engine, [1, 2, 3], 0, 8)
        assert len(set(first)) > 1
        region.bytes[:] = 0
        assert await greedy(engine, [1, 2, 3], 0, 2) == [0, 0]
        load(region, packed)
        assert await greedy(engine, [1, 2, 3], 0, 8) == first

    with_engine(packed, body)


def test_a_range_may_grow_once_its_bytes_are_there(packed: PackedModel) -> None:
    async def body(engine: TorchEngine, region: Memory) -> None:
        load(region, packed, range(0, 3))
        chunk = [Chunk(1, 0, 3, emit=True)]
        half = await engine.forward(Step(0, 3, chunk, tokens=[1, 2, 3]))
        load(region, packed, range(3, ALL))
        split = await engine.forward(Step(3, ALL, chunk, rows=half))
        whole = await engine.forward(Step(0, ALL, [Chunk(0, 0, 3, True)], tokens=[1, 2, 3]))
        assert np.array_equal(split, whole)

    with_engine(packed, body)


def test_a_sequence_of_a_narrower_range_must_start_again_when_the_range_grows(
    packed: PackedModel,
) -> None:
    async def body(engine: TorchEngine, region: Memory) -> None:
        load(region, packed)
        await greedy(
            engine, [7, 7, 7], 0, 1
        )  # another sequence leaves three stale entries everywhere
        await engine.forward(Step(0, 3, [Chunk(0, 0, 3, False)], tokens=[1, 2, 3]))
        with pytest.raises(ModelError, match="slot 0 holds 0 tokens where 3 are needed"):
            await engine.forward(Step(0, ALL, [Chunk(0, 3, 1, True)], tokens=[4]))
        assert len(await greedy(engine, [1, 2, 3], 0, 2)) == 2

    with_engine(packed, body)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step(0, ALL, [Chunk(4, 0, 1, True)], tokens=[1]), "slot is 4; max_slots is 4"),
        (Step(0, ALL, [Chunk(0, 60, 5, True)], tokens=[1] * 5), "65 tokens; max_length is 64"),
        (Step(0, ALL, [Chunk(0, 0, 33, True)], tokens=[1] * 33), "step has 33 tokens"),
        (Step(0, ALL, [Chunk(0, 0, 0, True)], tokens=[]), "step has 0 tokens"),
        (Step(0, ALL, [Chunk(0, 0, 2, True)], tokens=[1]), "1 tokens for 2 positions"),
        (Step(0, ALL, [Chunk(0, 0, 1, True)], tokens=[512]), "token 512 is outside the vocabulary"),
        (Step(0, ALL, [Chunk(0, 0, 1, True)] * 2, tokens=[1, 1]), "one chunk per slot"),
        (Step(0, 7, [Chunk(0, 0, 1, True)], tokens=[1]), r"parts \[0, 7\)"),
        (Step(1, ALL, [Chunk(0, 0, 1, True)]), "0 rows for 1 positions"),
        (Step(1, 2, [Chunk(0, 0, 1, True)], rows=np.zeros((1, 3), np.uint8)), "bytes wide"),
    ],
)
def test_a_step_beyond_what_was_prepared_is_refused_by_name(
    packed: PackedModel, step: Step, message: str
) -> None:
    async def body(engine: TorchEngine, region: Memory) -> None:
        with pytest.raises(ConfigError, match=message):
            await engine.forward(step)
        assert engine.counts.steps == 0

    with_engine(packed, body)


def test_a_model_that_cannot_run_is_refused_by_name(packed: PackedModel) -> None:
    config = json.loads(packed.config)
    narrow = json.dumps(config | {"intermediate_size": 96})
    other = json.dumps(config | {"model_type": "gpt2"})
    stretched = json.dumps(
        config | {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}
    )

    async def main() -> None:
        engine = TorchEngine()
        for text, message in (
            (narrow, "disagree on model.layers.0.mlp"),
            (other, "'gpt2' is not supported"),
            (stretched, "rope_type 'dynamic'"),
        ):
            with pytest.raises(ModelError, match=message):
                await engine.prepare(packed.layout, text, LIMITS)
        with pytest.raises(ConfigError, match="max_length is 257"):
            await engine.prepare(packed.layout, packed.config, EngineLimits(1, 257))
        with pytest.raises(ModelError, match="prepare it first"):
            await engine.forward(Step(0, 1, [Chunk(0, 0, 1, False)], tokens=[1]))
        await engine.close()

    asyncio.run(main())


def test_a_draw_does_not_depend_on_the_batch_it_is_in(packed: PackedModel) -> None:
    async def body(engine: TorchEngine, region: Memory) -> None:
        load(region, packed)
        chunks = [Chunk(slot, 0, 2, True) for slot in range(4)]
        rows = await engine.forward(Step(0, ALL, chunks, tokens=[3, 1, 4, 1, 5, 9, 2, 6]))
        picks = [Pick(i, 2 * i, Sampling(0.5 * i, seed=9)) for i in range(4)]
        together = await engine.sample(rows, picks)
        alone = [(await engine.sample(rows[i : i + 1], [picks[i]]))[0] for i in range(4)]
        backwards = await engine.sample(rows[::-1], picks[::-1])
        assert together == alone == backwards[::-1]

    with_engine(packed, body)


def test_the_floor_is_slept_to_and_work_beyond_it_is_counted(packed: PackedModel) -> None:
    def device(launch_s: float) -> DeviceModel:
        return DeviceModel(bandwidth=1e15, flops=1e18, launch_s=launch_s)

    async def slow(engine: TorchEngine, region: Memory) -> None:
        started = time.perf_counter()
        await greedy(engine, [1], 0, 2)
        assert time.perf_counter() - started >= 4 * 0.2  # two steps, two samples
        assert engine.counts == StepCounts(4, 0)

    async def fast(engine: TorchEngine, region: Memory) -> None:
        await greedy(engine, [1], 0, 2)
        assert engine.counts == StepCounts(4, 4)

    with_engine(packed, slow, device(0.2))
    with_engine(packed, fast, device(0.0))


def test_the_event_loop_runs_while_a_step_does_and_a_cancelled_caller_harms_nothing(
    packed: PackedModel,
) -> None:
    async def body(engine: TorchEngine, region: Memory) -> None:
        load(region, packed)
        expected = await greedy(engine, [1, 2, 3], 0, 3)
        cancelled = asyncio.create_task(greedy(engine, [5, 6], 0, 3))
        await asyncio.sleep(0.01)  # in its first step, which the floor makes last 50 ms
        cancelled.cancel()
        started = time.perf_counter()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert time.perf_counter() - started < 0.1
        assert await greedy(engine, [1, 2, 3], 0, 3) == expected

    with_engine(packed, body, DeviceModel(bandwidth=1e15, flops=1e18, launch_s=0.15))


@pytest.mark.parametrize("end", ["detach", "close"])
def test_memory_cannot_vanish_under_an_engine_and_is_free_once_it_lets_go(
    packed: PackedModel, end: str
) -> None:
    async def main() -> None:
        engine = TorchEngine()
        await engine.prepare(packed.layout, packed.config, LIMITS)
        owners = [mmap.mmap(-1, nbytes) for nbytes in (packed.layout.nbytes, engine.kv.nbytes)]
        regions = [Memory(1), Memory(1)]
        for region, owner in zip(regions, owners, strict=True):
            region.nbytes, region.view = len(owner), memoryview(owner)
        await engine.attach(regions[0], 0, regions[1])
        for region, owner in zip(regions, owners, strict=True):
            region.view.release()
            with pytest.raises(BufferError):
                owner.close()
        rows = await engine.forward(Step(0, 3, [Chunk(0, 0, 1, False)], tokens=[0]))
        await (engine.detach() if end == "detach" else engine.close())
        for owner in owners:
            owner.close()
        await engine.close()
        await engine.close()
        assert not rows.any()  # rows are the caller's, not a view of the image

    asyncio.run(main())


def test_what_the_kv_region_held_before_does_not_matter(packed: PackedModel) -> None:
    async def tokens(old: int) -> list[int]:
        engine, region = TorchEngine(), Memory(packed.layout.nbytes)
        load(region, packed)
        await engine.prepare(packed.layout, packed.config, LIMITS)
        kv = Memory(engine.kv.nbytes)
        kv.bytes[:] = old  # not a number, if all bits are set
        await engine.attach(region, 0, kv)
        await greedy(engine, list(range(9)), 0, 1)
        chunks = [Chunk(0, 9, 1, True), Chunk(1, 0, 1, True), Chunk(3, 0, 1, True)]
        rows = await engine.forward(Step(0, ALL, chunks, tokens=[1, 2, 3]))
        found = await engine.sample(rows, [Pick(i, 0, GREEDY) for i in range(3)])
        await engine.close()
        return found

    assert asyncio.run(tokens(0xFF)) == asyncio.run(tokens(0))


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_an_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=device):
        TorchEngine(device)
