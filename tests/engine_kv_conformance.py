"""What every engine promises about its memory: a list of bodies, each run for every `World`.

A world makes engines and regions. In all of them a sequence is continued by whoever holds its KV ranges,
with the tokens of an undisturbed run, and damage on the way does not go unnoticed.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from lambdascale.engine.base import Chunk, Engine, EngineLimits, Pick, Step
from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.layout import ALIGNMENT
from lambdascale.model.packed import PackedModel
from lambdascale.sim.content import put_image
from lambdascale.sim.regions import SimRegion, copy, new_region
from lambdascale.workload.request import Sampling

LIMITS = EngineLimits(max_slots=4, max_length=48, max_step_tokens=32)
PROMPT = [(37 * i + 5) % 512 for i in range(20)]  # longer than the windows of the models
SLOT, CUT, BEFORE, AFTER = 2, 3, 4, 6
Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class World:
    """Engines that can exchange KV, regions of one kind, and a loop to run them on."""

    engine: Callable[[], Engine]
    sized_above: int | None
    run: Callable[[Coroutine[Any, Any, None]], None]

    def region(self, nbytes: int) -> SimRegion:
        return new_region(0, nbytes, self.sized_above)


@dataclass(slots=True)
class Node:
    """An engine with a whole model in its memory, which runs parts [first, stop)."""

    engine: Engine
    image: SimRegion
    kv: SimRegion
    first: int
    stop: int


async def node(world: World, packed: PackedModel, first: int = 0, stop: int | None = None) -> Node:
    engine, image = world.engine(), world.region(packed.layout.nbytes)
    put_image(packed.image, 0, image, 0, packed.layout.nbytes)
    await engine.prepare(packed.layout, packed.config, LIMITS)
    kv = world.region(engine.kv.nbytes)
    await engine.attach(image, 0, kv)
    return Node(engine, image, kv, first, stop or packed.layout.num_parts)


@contextlib.asynccontextmanager
async def line(world: World, packed: PackedModel, *cuts: int) -> AsyncIterator[list[Node]]:
    """An execution pipeline cut at `cuts`, and a node with the whole model that is no part of it."""
    bounds = [0, *cuts, packed.layout.num_parts]
    nodes = [await node(world, packed, *bounds[i : i + 2]) for i in range(len(bounds) - 1)]
    nodes.append(await node(world, packed))
    try:
        yield nodes
    finally:
        for each in nodes:
            await each.engine.close()


async def generate(
    nodes: Sequence[Node], tokens: Sequence[int], start: int, count: int, slot: int = SLOT
) -> list[int]:
    """Run `tokens` from position `start` on, then generate `count` greedy tokens."""
    found, pending, rows = list[int](), list(tokens), None
    for _ in range(count):
        chunks = [Chunk(slot, start, len(pending), emit=True)]
        for each in nodes:
            given = None if each.first else pending
            rows = await each.engine.forward(Step(each.first, each.stop, chunks, given, rows))
        assert rows is not None
        start, picks = start + len(pending), [Pick(0, len(found), Sampling())]
        pending, rows = await nodes[0].engine.sample(rows, picks), None
        found += pending
    return found


async def undisturbed(world: World, packed: PackedModel) -> list[int]:
    async with line(world, packed) as (whole, _):
        return await generate([whole], PROMPT, 0, BEFORE + AFTER)


async def move(source: Node, target: Node, first: int, stop: int, keep: Callable[..., Any]) -> None:
    """Write the ranges of parts [first, stop) that `keep` likes into the target's region; adopt all."""
    length = len(PROMPT) + BEFORE - 1
    ranges = source.engine.kv.ranges(SLOT, first, stop, length)
    assert ranges == target.engine.kv.ranges(SLOT, first, stop, length)
    await source.engine.kv.expose(SLOT, first, stop, length)
    for piece in filter(keep, ranges):
        copy(source.kv, *piece, target.kv, piece[0])
    await target.engine.kv.adopt(SLOT, first, stop, length)


async def moved(
    world: World, packed: PackedModel, keep: Callable[..., Any] = lambda piece: True
) -> list[int]:
    """Begin on a pipeline of two, move to a third node, continue there."""
    async with line(world, packed, CUT) as (head, tail, target):
        found = await generate([head, tail], PROMPT, 0, BEFORE)
        for source in (head, tail):
            await move(source, target, source.first, source.stop, keep)
        at = len(PROMPT) + BEFORE - 1
        return found + await generate([target], found[-1:], at, AFTER)


# --- the bodies --------------------------------------------------------------------------------------


async def a_sequence_moved_from_a_pipeline_to_one_node_goes_on(
    world: World, packed: PackedModel
) -> None:
    assert await moved(world, packed) == await undisturbed(world, packed)


async def layers_computed_here_and_layers_from_a_peer_continue_together(
    world: World, packed: PackedModel
) -> None:
    async with line(world, packed, CUT) as (head, tail, _):
        found = await generate([head, tail], PROMPT, 0, BEFORE)
        await move(tail, head, CUT, tail.stop, lambda piece: True)
        head.stop = tail.stop
        found += await generate([head], found[-1:], len(PROMPT) + BEFORE - 1, AFTER)
        assert found == await undisturbed(world, packed)


async def a_sequence_may_move_on_and_come_back(world: World, packed: PackedModel) -> None:
    async with line(world, packed) as (home, away):
        found = await generate([home], PROMPT, 0, BEFORE)
        await move(home, away, 0, home.stop, lambda piece: True)
        found += await generate([away], found[-1:], len(PROMPT) + BEFORE - 1, 2)
        length = len(PROMPT) + BEFORE + 1
        await away.engine.kv.expose(SLOT, 0, away.stop, length)
        for piece in away.engine.kv.ranges(SLOT, 0, away.stop, length):
            copy(away.kv, *piece, home.kv, piece[0])
        await home.engine.kv.adopt(SLOT, 0, home.stop, length)
        found += await generate([home], found[-1:], length, AFTER - 2)
        assert found == await undisturbed(world, packed)


async def another_sequence_of_the_receiver_is_not_disturbed(
    world: World, packed: PackedModel
) -> None:
    async with line(world, packed) as (source, target):
        other = await generate([target], [9, 8, 7], 0, 5, slot=1)
        again = await generate([target], [9, 8, 7], 0, 2, slot=1)
        await generate([source], PROMPT, 0, BEFORE)
        await move(source, target, 0, source.stop, lambda piece: True)
        assert again + await generate([target], again[-1:], 4, 3, slot=1) == other


async def a_layer_that_was_not_written_makes_tokens_wrong(
    world: World, packed: PackedModel
) -> None:
    right = await undisturbed(world, packed)
    async with line(world, packed) as (whole, _):
        kv = whole.engine.kv
        layers = [kv.ranges(SLOT, p, p + 1, LIMITS.max_length) for p in range(1, whole.stop - 1)]
    for (low, nbytes), *_ in layers:  # its keys, or all of it where keys and values lie together
        wrong = await moved(world, packed, lambda r, at=low, n=nbytes: not at <= r[0] < at + n)
        assert wrong[:BEFORE] == right[:BEFORE]
        assert wrong != right


async def a_model_may_be_attached_again_elsewhere(world: World, packed: PackedModel) -> None:
    async with line(world, packed) as (whole, _):
        engine, layout = whole.engine, packed.layout
        first = await generate([whole], PROMPT, 0, AFTER)
        await engine.detach()
        with pytest.raises(ModelError, match="attach it first"):
            await generate([whole], PROMPT, 0, 1)
        image = world.region(3 * ALIGNMENT + layout.nbytes)
        put_image(packed.image, 0, image, 3 * ALIGNMENT, layout.nbytes)
        await engine.attach(image, 3 * ALIGNMENT, whole.kv)
        assert await generate([whole], PROMPT, 0, AFTER) == first
        with pytest.raises(ConfigError, match="detach it first"):
            await engine.attach(image, 3 * ALIGNMENT, whole.kv)


async def nothing_is_held_right_after_attaching(world: World, packed: PackedModel) -> None:
    async with line(world, packed) as (source, target):
        found = await generate([source], PROMPT, 0, BEFORE)
        await move(source, target, 0, source.stop, lambda piece: True)
        await target.engine.detach()
        await target.engine.attach(target.image, 0, target.kv)
        at = len(PROMPT) + BEFORE - 1
        try:
            wrong = await generate([target], found[-1:], at, AFTER)
        except ModelError:
            return
        assert found + wrong != await undisturbed(world, packed)


async def a_region_that_cannot_hold_the_model_is_refused_by_name(
    world: World, packed: PackedModel
) -> None:
    engine, nbytes = world.engine(), packed.layout.nbytes
    with pytest.raises(ModelError, match="prepare it first"):
        await engine.attach(world.region(nbytes), 0, world.region(1))
    await engine.prepare(packed.layout, packed.config, LIMITS)
    kv = world.region(engine.kv.nbytes)
    with pytest.raises(ConfigError, match="offset is 64"):
        await engine.attach(world.region(nbytes), 64, kv)
    with pytest.raises(ConfigError, match="multiple of 64"):
        await engine.attach(world.region(2 * nbytes), 4, kv)
    with pytest.raises(ConfigError, match="the KV cache of"):
        await engine.attach(world.region(nbytes), 0, world.region(engine.kv.nbytes - 1))
    with pytest.raises(ModelError, match="attach it first"):
        await engine.kv.adopt(0, 0, 2, 1)
    await engine.detach()
    await engine.close()


async def a_slot_or_length_beyond_the_limits_is_refused_by_name(
    world: World, packed: PackedModel
) -> None:
    async with line(world, packed) as (whole, _):
        kv = whole.engine.kv
        for slot, length, message in ((4, 1, "slot is 4"), (0, 49, "length is 49")):
            with pytest.raises(ConfigError, match=message):
                kv.ranges(slot, 0, 2, length)
            for call in (kv.expose, kv.adopt):
                with pytest.raises(ConfigError, match=message):
                    await call(slot, 0, 2, length)
        with pytest.raises(ConfigError, match="parts"):
            await kv.adopt(0, 0, whole.stop + 1, 1)


BODIES = (
    a_sequence_moved_from_a_pipeline_to_one_node_goes_on,
    layers_computed_here_and_layers_from_a_peer_continue_together,
    a_sequence_may_move_on_and_come_back,
    another_sequence_of_the_receiver_is_not_disturbed,
    a_layer_that_was_not_written_makes_tokens_wrong,
    a_model_may_be_attached_again_elsewhere,
    nothing_is_held_right_after_attaching,
    a_region_that_cannot_hold_the_model_is_refused_by_name,
    a_slot_or_length_beyond_the_limits_is_refused_by_name,
)
