"""Memory of an engine: its KV cache moves between nodes, and several models take turns on one device."""

import asyncio
import doctest
from pathlib import Path

import numpy as np
import pytest
from engine_kv_conformance import BODIES, LIMITS, PROMPT, SLOT, World, generate, line, move, node
from tiny import TinyModel

from lambdascale.engine import kv
from lambdascale.engine.device import DeviceModel
from lambdascale.engine.kv import KvLayout
from lambdascale.engine.torch_engine import TorchEngine
from lambdascale.errors import ModelError
from lambdascale.model.catalogue import load_packed
from lambdascale.model.packed import PackedModel
from lambdascale.sim import loop
from lambdascale.sim.content import put_image
from lambdascale.sim.engine import SymbolicEngine
from lambdascale.sim.kv_names import KvContents
from lambdascale.sim.regions import copy

MODELS = {
    "llama": ("llama", True, {}),
    "mistral-window": ("mistral", False, {"sliding_window": 12}),
    "qwen2-window": (
        "qwen2",
        True,
        {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 2},
    ),
}
DEVICE = DeviceModel(bandwidth=1e9, flops=1e12)


def real() -> World:
    return World(TorchEngine, None, asyncio.run)


def symbolic(sized_above: int | None) -> World:
    contents = KvContents()
    return World(lambda: SymbolicEngine(DEVICE, contents=contents), sized_above, loop.run)


WORLDS = {"torch": real, "sized": lambda: symbolic(0), "backed": lambda: symbolic(None)}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    made: World = WORLDS[request.param]()
    return made


@pytest.fixture(scope="module", params=MODELS)
def packed(
    tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> PackedModel:
    return make(request.param, tiny_model, tmp_path_factory.mktemp("cache"))


def make(name: str, tiny_model: TinyModel, cache: Path) -> PackedModel:
    arch, tied, config = MODELS[name]
    folder = tiny_model(arch, tied=tied, num_hidden_layers=4, **config)
    return load_packed(str(folder), "float32", cache)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_every_engine_keeps_the_promises_about_its_memory(body, world, packed) -> None:
    world.run(body(world, packed))


def test_two_models_take_turns_on_one_region_and_one_kv_region(
    world: World, tiny_model: TinyModel, tmp_path: Path
) -> None:
    models = [make(name, tiny_model, tmp_path) for name in ("llama", "qwen2-window")]

    async def main() -> None:
        alone, nodes = [], []
        for model in models:
            async with line(world, model) as (whole, _):
                alone.append(await generate([whole], PROMPT, 0, 6))
            nodes.append(await node(world, model))
            await nodes[-1].engine.detach()
        offsets = 0, models[0].layout.nbytes
        image = world.region(sum(model.layout.nbytes for model in models))
        shared = world.region(max(each.engine.kv.nbytes for each in nodes))
        for model, offset in zip(models, offsets, strict=True):
            put_image(model.image, 0, image, offset, model.layout.nbytes)
        for turn in (0, 1, 0, 1):
            await nodes[turn].engine.attach(image, offsets[turn], shared)
            assert await generate(nodes[turn : turn + 1], PROMPT, 0, 6) == alone[turn]
            await nodes[turn].engine.detach()
        for each in nodes:
            await each.engine.close()

    world.run(main())


# --- where the two kinds of engine differ ------------------------------------------------------------


@pytest.mark.parametrize("sized_above", [None, 0])
def test_a_byte_flipped_anywhere_in_a_moved_range_makes_symbolic_tokens_wrong(
    packed: PackedModel, sized_above: int | None
) -> None:
    world = symbolic(sized_above)

    async def main() -> None:
        length = len(PROMPT) + 3
        right, differing = None, 0
        places = [None, *((part, at) for part in range(1, 5) for at in (0.0, 0.5, 1.0))]
        for place in places:
            async with line(world, packed) as (source, target):
                found = await generate([source], PROMPT, 0, 4)
                await source.engine.kv.expose(SLOT, 0, source.stop, length)
                if place is not None:
                    ((low, nbytes),) = source.engine.kv.ranges(SLOT, place[0], place[0] + 1, length)
                    source.kv.flip(low + int(place[1] * (nbytes - 1)))
                for piece in source.engine.kv.ranges(SLOT, 0, source.stop, length):
                    copy(source.kv, *piece, target.kv, piece[0])
                await target.engine.kv.adopt(SLOT, 0, target.stop, length)
                found += await generate([target], found[-1:], length, 4)
            right = right or found
            differing += found != right
        assert differing == len(places) - 1

    world.run(main())


def test_a_layer_nobody_adopted_is_refused_by_the_real_engine(packed: PackedModel) -> None:
    world = real()

    async def main() -> None:
        async with line(world, packed) as (source, target):
            found = await generate([source], PROMPT, 0, 4)
            length = len(PROMPT) + 3
            await move(source, target, 0, 3, lambda piece: True)
            await move(source, target, 4, source.stop, lambda piece: True)
            with pytest.raises(ModelError, match=f"slot 2 holds 0 tokens where {length} are"):
                await generate([target], found[-1:], length, 1)
            with pytest.raises(ModelError, match=f"slot 2 holds 0 tokens where {length} are"):
                await target.engine.kv.expose(SLOT, 0, target.stop, length)
            await move(source, target, 3, 4, lambda piece: True)
            await target.engine.kv.adopt(SLOT, 1, 2, 0)  # forget the first layer again
            with pytest.raises(ModelError, match=f"slot 2 holds 0 tokens where {length} are"):
                await generate([target], found[-1:], length, 1)

    world.run(main())


def test_both_engines_need_the_same_kv_bytes_and_those_of_the_formula(packed: PackedModel) -> None:
    sizes = dict[str, int]()

    async def measure(name: str, world: World) -> None:
        engine = world.engine()
        await engine.prepare(packed.layout, packed.config, LIMITS)
        sizes[name] = engine.kv.nbytes
        await engine.close()

    for name, make_world in WORLDS.items():
        made = make_world()
        made.run(measure(name, made))
    shape = packed.shape
    formula = 2 * 4 * LIMITS.max_slots * shape.num_kv_heads * LIMITS.max_length * shape.head_dim * 4
    assert set(sizes.values()) == {formula}


# --- the ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 3, 5])
@pytest.mark.parametrize("planes", [1, 2])
def test_the_ranges_of_a_slot_are_its_cells_of_the_array_and_no_others(
    planes: int, length: int
) -> None:
    layout = KvLayout(3, planes, 4, 2, 5, 8)
    cells = np.zeros((3, planes, 4, 2, 5, 8), np.uint8)
    assert layout.nbytes == cells.size
    for first, stop, layers in ((0, 5, slice(0, 3)), (2, 3, slice(1, 2)), (0, 1, slice(0, 0))):
        cells[:] = 0
        cells[layers, :, 1, :, :length] = 1
        found = np.zeros(cells.size, np.uint8)
        ranges = layout.ranges(1, first, stop, length)
        for offset, nbytes in ranges:
            found[offset : offset + nbytes] += 1
        assert np.array_equal(found, cells.reshape(-1))
        assert list(ranges) == sorted(ranges)


def test_the_pieces_of_a_full_slot_are_merged() -> None:
    assert len(KvLayout(3, 2, 4, 2, 5, 8).ranges(1, 0, 5, 4)) == 12
    assert len(KvLayout(3, 2, 4, 2, 5, 8).ranges(1, 0, 5, 5)) == 6
    assert KvLayout(3, 2, 1, 2, 5, 8).ranges(0, 0, 5, 5) == ((0, 480),)
    assert KvLayout(3, 2, 4, 2, 5, 8).ranges(1, 0, 5, 0) == ()


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(kv).failed == 0
