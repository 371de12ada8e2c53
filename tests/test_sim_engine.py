"""Symbolic tokens: nothing harmless changes them, and everything that would be a wrong answer does.

Every mutation test runs the same generation undisturbed first, which must equal the reference.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.engine.base import Chunk, EngineLimits, Pick, Rows, RowWidths, Step, StepCounts
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.packed import PackedModel
from lambdascale.sim.content import put_image
from lambdascale.sim.engine import SymbolicEngine
from lambdascale.sim.loop import run
from lambdascale.sim.models import image_checksums, nominal_model, symbolic_model
from lambdascale.sim.reference import reference_tokens
from lambdascale.sim.regions import SimRegion, new_region
from lambdascale.workload.request import Request, Sampling

MODEL = symbolic_model(num_layers=4)
PARTS = MODEL.layout.num_parts
DEVICE = DeviceModel(bandwidth=1e9, flops=1e12, launch_s=1e-3)
LIMITS = EngineLimits(max_slots=8, max_length=64, max_step_tokens=64)
SIZED = [None, 0]  # backed regions, sized regions


@dataclass
class Stage:
    engine: SymbolicEngine
    image: SimRegion
    first: int
    stop: int


@dataclass
class Pipeline:
    """Stages in order, and a place for a test to interfere before each step."""

    stages: list[Stage]
    model: PackedModel = MODEL
    before: Callable[[int], None] = field(default=lambda position: None)

    async def forward(self, chunks: Sequence[Chunk], tokens: Sequence[int]) -> Rows:
        rows = None
        for stage in self.stages:
            given = None if stage.first else tokens
            step = Step(stage.first, stage.stop, chunks, tokens=given, rows=rows)
            rows = await stage.engine.forward(step)
        assert rows is not None
        return rows

    async def generate(self, request: Request, slot: int = 0, pace: int = 64) -> tuple[int, ...]:
        """Serve one request, its prompt `pace` tokens at a time."""
        known, done, output = list(request.prompt), 0, list[int]()
        while len(output) < request.max_tokens:
            self.before(done)
            tokens = known[done : done + pace]
            emit = done + len(tokens) == len(known)
            rows = await self.forward([Chunk(slot, done, len(tokens), emit)], tokens)
            done += len(tokens)
            if emit:
                pick = Pick(request.id, len(output), request.sampling)
                output += await self.stages[0].engine.sample(rows, [pick])
                known += output[-1:]
        return tuple(output)


async def ready(engine: SymbolicEngine, model: PackedModel, image: SimRegion) -> RowWidths:
    widths = await engine.prepare(model.layout, model.config, LIMITS)
    await engine.attach(image, 0, new_region(5, engine.kv.nbytes, 0))
    return widths


async def pipeline(
    cuts: Sequence[int] = (0, 3, PARTS), sized: int | None = None, model: PackedModel = MODEL
) -> Pipeline:
    stages = []
    for first, stop in itertools.pairwise(cuts):
        image = new_region(1, model.layout.nbytes, sized)
        put_image(model.image, 0, image, 0, image.nbytes)
        engine = SymbolicEngine(DEVICE)
        await ready(engine, model, image)
        stages.append(Stage(engine, image, first, stop))
    return Pipeline(stages, model)


def request(index: int = 0, length: int = 6, temperature: float = 0.0) -> Request:
    prompt = tuple(random.Random(index).randrange(1000) for _ in range(length))
    return Request(index, prompt, 6, Sampling(temperature=temperature, seed=3))


def generated(disturb: Callable[[Pipeline], None] | None, sized: int | None = None) -> object:
    async def main() -> tuple[int, ...]:
        line = await pipeline(sized=sized)
        if disturb is not None:
            disturb(line)
        return await line.generate(request())

    return run(main())


def differs(disturb: Callable[[Pipeline], None], sized: int | None = None) -> bool:
    """Assert that the undisturbed run is right; say whether the disturbed one is wrong."""
    right = reference_tokens(MODEL, [request()], sized)[0]
    assert generated(None, sized) == right
    return generated(disturb, sized) != right


# --- what must not change the tokens -----------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    temperature=st.sampled_from([0.0, 0.7]),
    sized=st.sampled_from(SIZED),
)
def test_batches_chunks_ranges_and_nodes_do_not_change_tokens(
    seed: int, temperature: float, sized: int | None
) -> None:
    random_ = random.Random(seed)
    requests = [request(i, random_.randrange(1, 20), temperature) for i in range(6)]
    cuts = [0, *sorted(random_.sample(range(1, PARTS), random_.randrange(PARTS - 1))), PARTS]

    async def main() -> dict[int, tuple[int, ...]]:
        line = await pipeline(cuts, sized)
        return await serve(line, requests, random_)

    assert run(main()) == reference_tokens(MODEL, requests, sized)


async def serve(
    line: Pipeline, requests: Sequence[Request], random_: random.Random
) -> dict[int, tuple[int, ...]]:
    """Serve in random batches of random chunks; slots are given out again as they become free."""
    waiting, free = list(requests), random_.sample(range(LIMITS.max_slots), 3)
    running: dict[int, tuple[Request, list[int], int]] = {}
    outputs: dict[int, tuple[int, ...]] = {}
    while waiting or running:
        while waiting and free:
            first = waiting.pop(0)
            running[free.pop()] = (first, list(first.prompt), 0)
        batch = random_.sample(sorted(running), random_.randrange(1, len(running) + 1))
        chunks, tokens, picks = [], list[int](), []
        for slot in batch:
            served, known, done = running[slot]
            length = random_.randrange(1, len(known) - done + 1)
            emit = done + length == len(known)
            chunks.append(Chunk(slot, done, length, emit))
            tokens += known[done : done + length]
            running[slot] = (served, known, done + length)
            if emit:
                picks.append(Pick(served.id, len(known) - len(served.prompt), served.sampling))
        rows = await line.forward(chunks, tokens)
        sampled = iter(await line.stages[0].engine.sample(rows, picks))
        for chunk in chunks:
            served, known, _ = running[chunk.slot]
            if chunk.emit:
                known.append(next(sampled))
            if len(known) == len(served.prompt) + served.max_tokens:
                outputs[served.id] = tuple(known[len(served.prompt) :])
                free.append(chunk.slot)
                del running[chunk.slot]
    return outputs


def test_backed_and_sized_images_each_agree_with_their_own_reference() -> None:
    for sized in SIZED:
        assert generated(None, sized) == reference_tokens(MODEL, [request()], sized)[0]


def test_prompt_and_tokens_so_far_computed_again_elsewhere_continue_exactly() -> None:
    whole = request()
    right = reference_tokens(MODEL, [whole])[0]

    async def main() -> tuple[int, ...]:
        line = await pipeline((0, PARTS))
        known = (*whole.prompt, *right[:3])
        rows = await line.forward([Chunk(5, 0, len(known), emit=True)], known)
        picks = [Pick(whole.id, 3, whole.sampling)]
        return tuple(await line.stages[0].engine.sample(rows, picks))

    assert run(main()) == right[3:4]


def test_a_range_may_grow_while_a_sequence_runs_if_the_new_layers_catch_up() -> None:
    async def main() -> tuple[int, ...]:
        line = await pipeline((0, PARTS))
        engine, first = line.stages[0].engine, request()
        tokens, length = first.prompt, len(first.prompt)
        rows = await engine.forward(Step(0, 2, (Chunk(0, 0, length, False),), tokens=tokens))
        rows = await engine.forward(Step(2, PARTS, (Chunk(0, 0, length, True),), rows=rows))
        return tuple(await engine.sample(rows, [Pick(0, 0, first.sampling)]))

    assert run(main()) == reference_tokens(MODEL, [request()])[0][:1]


def test_sampling_depends_on_seed_request_and_position_and_greedy_on_none() -> None:
    async def tokens(picks: list[Pick]) -> list[int]:
        line = await pipeline((0, PARTS))
        rows = await line.forward([Chunk(0, 0, 2, True)], [1, 2])
        engine = line.stages[0].engine
        return [(await engine.sample(rows, [pick]))[0] for pick in picks]

    warm, other = Sampling(temperature=1.0, seed=1), Sampling(temperature=1.0, seed=2)
    varied = [Pick(0, 0, warm), Pick(1, 0, warm), Pick(0, 1, warm), Pick(0, 0, other)]
    assert len(set(run(tokens(varied)))) == 4
    assert run(tokens(varied[:1])) == run(tokens(varied[:1]))
    cold = [Pick(i, i, Sampling(seed=i)) for i in range(4)]
    assert len(set(run(tokens(cold)))) == 1


# --- what must change them ---------------------------------------------------------------------------


@pytest.mark.parametrize("sized", SIZED)
def test_a_flipped_byte_in_any_part_makes_tokens_wrong(sized: int | None) -> None:
    for part in range(PARTS):
        stage = 0 if part < 3 else 1
        offset = MODEL.layout.part_offsets[part] + 1
        assert differs(lambda line, s=stage, o=offset: line.stages[s].image.flip(o), sized)


@pytest.mark.parametrize("sized", SIZED)
def test_a_byte_flipped_in_mid_generation_is_seen_at_the_next_step(sized: int | None) -> None:
    right = reference_tokens(MODEL, [request()], sized)[0]

    def disturb(line: Pipeline) -> None:
        def flip(position: int) -> None:
            if position == 8:
                line.stages[1].image.flip(MODEL.layout.part_offsets[4])

        line.before = flip

    tokens = generated(disturb, sized)
    assert isinstance(tokens, tuple)
    assert tokens[:3] == right[:3]
    assert tokens[3] != right[3]


def test_a_corrupt_byte_of_another_stage_changes_nothing() -> None:
    assert not differs(lambda line: line.stages[1].image.flip(0))


@pytest.mark.parametrize("sized", SIZED)
def test_a_missing_block_makes_tokens_wrong_and_raises_nothing(sized: int | None) -> None:
    def disturb(line: Pipeline) -> None:
        layout = MODEL.layout
        image = new_region(1, layout.nbytes, sized)
        put_image(MODEL.image, 0, image, 0, layout.part_offsets[5] - 64)
        engine = SymbolicEngine(DEVICE)
        run_now(ready(engine, MODEL, image))
        line.stages[1] = replace(line.stages[1], engine=engine, image=image)

    assert differs(disturb, sized)


def run_now(coro: object) -> None:
    """Run a coroutine that never waits."""
    assert asyncio.iscoroutine(coro)
    with pytest.raises(StopIteration):
        coro.send(None)


def test_swapped_stages_make_tokens_wrong() -> None:
    async def main(cuts: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
        line = await pipeline(cuts)
        line.stages = [line.stages[i] for i in order]
        return await line.generate(request())

    right = reference_tokens(MODEL, [request()])[0]
    assert run(main((0, 2, 4, PARTS), (0, 1, 2))) == right
    swapped = run(main((0, 1, 3, 5, PARTS), (0, 2, 1, 3)))
    assert swapped != right


def test_a_skipped_layer_makes_tokens_wrong() -> None:
    assert differs(lambda line: setattr(line.stages[1], "first", 4))


def test_a_layer_run_twice_makes_tokens_wrong() -> None:
    assert differs(lambda line: setattr(line.stages[0], "stop", 4))


@pytest.mark.parametrize("layer", range(4))
def test_a_dropped_kv_entry_makes_tokens_wrong(layer: int) -> None:
    def disturb(line: Pipeline) -> None:
        cache = line.stages[0 if layer < 2 else 1].engine.cache

        def drop(position: int) -> None:
            if position:
                cache.drop(layer, 0, 2)

        line.before = drop

    assert differs(disturb)


def test_a_stage_that_comes_late_lacks_kv_and_makes_tokens_wrong() -> None:
    async def main(late: bool) -> tuple[int, ...]:
        line, spare = await pipeline(), await pipeline()

        def swap(position: int) -> None:
            if late and position == 7:
                line.stages[1] = spare.stages[1]

        line.before = swap
        return await line.generate(request())

    right = reference_tokens(MODEL, [request()])[0]
    assert run(main(late=False)) == right
    assert run(main(late=True)) != right


def test_a_slot_reused_without_a_restart_makes_tokens_wrong() -> None:
    async def main(restart: bool) -> tuple[int, ...]:
        line = await pipeline()
        await line.generate(request(1))
        first = request(2)
        if not restart:  # goes on where the other sequence stood
            await line.forward([Chunk(0, 3, 3, False)], first.prompt[3:])
            rows = await line.forward([Chunk(0, 6, 1, True)], [right[2][0]])
        else:
            rows = await line.forward([Chunk(0, 0, 6, False)], first.prompt)
            rows = await line.forward([Chunk(0, 6, 1, True)], [right[2][0]])
        picks = [Pick(2, 1, first.sampling)]
        return tuple(await line.stages[0].engine.sample(rows, picks))

    right = reference_tokens(MODEL, [request(2)])
    assert run(main(restart=True)) == right[2][1:2]
    assert run(main(restart=False)) != right[2][1:2]


def test_two_sequences_in_one_slot_make_tokens_wrong() -> None:
    async def main(slots: tuple[int, int]) -> list[tuple[int, ...]]:
        line = await pipeline()
        jobs = (line.generate(request(i), slots[i]) for i in range(2))
        return await asyncio.gather(*jobs)

    right = list(reference_tokens(MODEL, [request(0), request(1)]).values())
    assert run(main((0, 1))) == right
    first, second = run(main((0, 0)))
    assert first != right[0]
    assert second == right[1]  # it came last and wrote over every entry of the first


def test_a_shifted_position_makes_tokens_wrong() -> None:
    async def main(shift: int) -> tuple[int, ...]:
        line = await pipeline()
        first, token = request(), right[0]
        await line.forward([Chunk(0, 0, 6, False)], first.prompt)
        rows = await line.forward([Chunk(0, 6 + shift, 1, True)], [token])
        picks = [Pick(0, 1, first.sampling)]
        return tuple(await line.stages[0].engine.sample(rows, picks))

    right = reference_tokens(MODEL, [request()])[0]
    assert run(main(0)) == right[1:2]
    assert run(main(1)) != right[1:2]
    assert run(main(-1)) != right[1:2]


def test_swapped_rows_of_a_batch_make_tokens_wrong() -> None:
    async def main(swap: bool) -> list[int]:
        line = await pipeline()
        chunks = [Chunk(i, 0, 6, True) for i in range(2)]
        head, tail = (stage.engine for stage in line.stages)
        tokens = [*request(0).prompt, *request(1).prompt]
        rows = await head.forward(Step(0, 3, chunks, tokens=tokens))
        if swap:
            rows = rows[::-1]
        rows = await tail.forward(Step(3, PARTS, chunks, rows=rows))
        return await head.sample(rows, [Pick(i, 0, Sampling()) for i in range(2)])

    right = [t[0] for t in reference_tokens(MODEL, [request(0), request(1)]).values()]
    assert run(main(swap=False)) == right
    assert run(main(swap=True)) != right


# --- time, limits and shapes -------------------------------------------------------------------------


def test_a_step_takes_the_time_of_the_device_and_calls_queue_in_order() -> None:
    async def main() -> list[float]:
        line = await pipeline((0, PARTS))
        engine, loop, times = line.stages[0].engine, asyncio.get_running_loop(), list[float]()

        async def step(slot: int) -> None:
            await engine.forward(Step(0, PARTS, (Chunk(slot, 0, 1, True),), tokens=[1]))
            times.append(loop.time())

        await asyncio.gather(*(step(slot) for slot in range(3)))
        assert engine.counts == StepCounts(3, 0)
        return times

    seconds = DEVICE.forward_s(MODEL.layout, 0, PARTS, 1)
    assert run(main()) == pytest.approx([seconds, 2 * seconds, 3 * seconds])


def test_limits_are_kept_and_errors_name_the_value() -> None:
    async def main() -> None:
        engine = SymbolicEngine(DEVICE)
        with pytest.raises(ModelError, match="prepare"):
            _ = engine.kv
        line = await pipeline((0, PARTS))
        engine = line.stages[0].engine
        wrong = [
            Step(0, PARTS + 1, (Chunk(0, 0, 1, True),), tokens=[1]),
            Step(0, PARTS, (Chunk(9, 0, 1, True),), tokens=[1]),
            Step(0, PARTS, (Chunk(0, 60, 5, True),), tokens=[1] * 5),
            Step(0, PARTS, (Chunk(0, 0, 2, True),), tokens=[1]),
            Step(0, PARTS, (Chunk(0, 0, 1, True), Chunk(0, 1, 1, True)), tokens=[1, 1]),
            Step(1, PARTS, (Chunk(0, 0, 1, True),), tokens=[1]),
        ]
        for step in wrong:
            with pytest.raises(ConfigError):
                await engine.forward(step)

    run(main())


def test_wide_rows_are_as_long_as_those_of_the_real_model() -> None:
    async def main() -> tuple[int, ...]:
        model = nominal_model("llama-2-70b")
        image = new_region(1, model.layout.nbytes, 1 << 20)
        put_image(model.image, 0, image, 0, image.nbytes)
        engine = SymbolicEngine(DEVICE, wide_rows=True)
        widths = await ready(engine, model, image)
        rows = await engine.forward(Step(0, 2, (Chunk(0, 0, 1, True),), tokens=[1]))
        return widths.row_nbytes, widths.final_row_nbytes, rows.shape[1]

    assert run(main()) == (8192 * 2, 32000 * 2, 8192 * 2)


def test_checksums_of_an_image_are_those_of_a_region_that_holds_it() -> None:
    for sized in SIZED:
        whole = new_region(1, MODEL.layout.nbytes, sized)
        put_image(MODEL.image, 0, whole, 0, whole.nbytes)
        parts = new_region(1, MODEL.layout.nbytes, sized)
        for low in range(0, parts.nbytes, 1001):
            put_image(MODEL.image, low, parts, low, min(1001, parts.nbytes - low))
        assert whole.fingerprint(0, whole.nbytes) == parts.fingerprint(0, parts.nbytes)
        assert image_checksums(MODEL, 1, sized) == (whole.fingerprint(0, whole.nbytes),)
        assert len(set(image_checksums(MODEL, 8, sized))) == 8


def test_another_image_gives_other_tokens() -> None:
    other = replace(MODEL, image=Path("another.image"))
    assert reference_tokens(MODEL, [request()]) != reference_tokens(other, [request()])


# --- several steps in one go -------------------------------------------------------------------------


async def in_one_go(requests: Sequence[Request], steps: int, interrupt_s: float | None = None):
    """The first token of each request, then `steps` more from one call; and when they were made."""
    line = await pipeline((0, PARTS))
    engine, first = line.stages[0].engine, []
    for slot, asked in enumerate(requests):
        rows = await line.forward([Chunk(slot, 0, len(asked.prompt), True)], asked.prompt)
        first += await engine.sample(rows, [Pick(asked.id, 0, asked.sampling)])
    chunks = [Chunk(slot, len(r.prompt), 1, True) for slot, r in enumerate(requests)]
    interrupt = asyncio.Event()
    if interrupt_s is not None:
        asyncio.get_running_loop().call_later(interrupt_s, interrupt.set)
    picks = [Pick(r.id, 1, r.sampling) for r in requests]
    begun = asyncio.get_running_loop().time()
    rounds = await engine.generate(Step(0, PARTS, chunks, first), picks, steps, interrupt)
    outputs = {
        r.id: (first[i], *(done.tokens[i] for done in rounds)) for i, r in enumerate(requests)
    }
    return outputs, [done.time_s - begun for done in rounds]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_steps_in_one_go_give_the_tokens_and_times_of_steps_one_by_one(
    count: int, temperature: float
) -> None:
    requests = [request(i, 3 + i, temperature) for i in range(count)]
    outputs, times = run(in_one_go(requests, steps=5))
    assert outputs == reference_tokens(MODEL, requests)
    each_s = DEVICE.forward_s(MODEL.layout, 0, PARTS, count) + DEVICE.sample_s(MODEL.layout, count)
    assert times == pytest.approx([each_s * (i + 1) for i in range(5)])


def test_an_interrupted_call_ends_at_the_next_step_boundary_and_can_be_continued() -> None:
    each_s = DEVICE.forward_s(MODEL.layout, 0, PARTS, 1) + DEVICE.sample_s(MODEL.layout, 1)
    right = reference_tokens(MODEL, [request()])[0]
    outputs, times = run(in_one_go([request()], steps=5, interrupt_s=2.5 * each_s))
    assert times == pytest.approx([each_s, 2 * each_s, 3 * each_s])
    assert outputs[0] == right[:4]


def test_whoever_waits_for_the_engine_ends_a_long_call_at_its_step_boundary() -> None:
    async def main() -> tuple[int, ...]:
        line = await pipeline((0, PARTS))
        engine, first = line.stages[0].engine, request()
        rows = await line.forward([Chunk(0, 0, 6, True)], first.prompt)
        tokens = await engine.sample(rows, [Pick(0, 0, Sampling())])
        step = Step(0, PARTS, [Chunk(0, 6, 1, True)], tokens)
        picks, interrupt = [Pick(0, 1, Sampling())], asyncio.Event()
        long = asyncio.ensure_future(engine.generate(step, picks, 50, interrupt))
        await asyncio.sleep(1e-4)
        await line.forward([Chunk(1, 0, 2, True)], [5, 6])
        assert long.done()
        return (*tokens, *(token for done in await long for token in done.tokens))

    made = run(main())
    assert made == reference_tokens(MODEL, [request()])[0][:2]


def test_a_dropped_entry_makes_the_tokens_of_a_long_call_wrong() -> None:
    async def main() -> tuple[int, ...]:
        line = await pipeline((0, PARTS))
        engine, first = line.stages[0].engine, request()
        await line.forward([Chunk(0, 0, 6, True)], first.prompt)
        engine.cache.drop(2, 0, 3)
        step = Step(0, PARTS, [Chunk(0, 6, 1, True)], right[:1])
        rounds = await engine.generate(step, [Pick(0, 1, Sampling())], 4, asyncio.Event())
        return tuple(token for done in rounds for token in done.tokens)

    right = reference_tokens(MODEL, [request()])[0]
    assert run(main()) != right[1:5]
