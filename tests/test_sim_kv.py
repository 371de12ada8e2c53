"""KV transfers of the symbolic engine: over a simulated network, and what may go wrong with one."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from lambdascale.engine.base import Chunk, EngineLimits, Pick, Step
from lambdascale.engine.device import DeviceModel
from lambdascale.sim import kv_names
from lambdascale.sim.content import put_image
from lambdascale.sim.engine import SymbolicEngine
from lambdascale.sim.kv_names import KvContents
from lambdascale.sim.loop import run
from lambdascale.sim.models import nominal_model, symbolic_model
from lambdascale.sim.network import SimNetwork
from lambdascale.sim.reference import reference_tokens
from lambdascale.sim.regions import SizedRegion, copy, new_region
from lambdascale.sim.transport import SimTransport
from lambdascale.transport.base import Lane
from lambdascale.workload.request import Request, Sampling

MODEL = symbolic_model(num_layers=4)
INSTANT = DeviceModel(bandwidth=1e30, flops=1e30)
LIMITS = EngineLimits(max_slots=8, max_length=512, max_step_tokens=512)
IMAGE, KV = 1, 5
REQUEST = Request(0, (3, 1, 4, 1, 5, 9), 8)
HELD = len(REQUEST.prompt) + 3  # positions with KV entries once four tokens are known


@dataclass(slots=True)
class Node:
    engine: SymbolicEngine
    kv: SizedRegion

    async def generate(self, tokens: list[int], start: int, count: int, slot: int = 0) -> list[int]:
        found, pending = list[int](), tokens
        for _ in range(count):
            chunk = Chunk(slot, start, len(pending), emit=True)
            parts = MODEL.layout.num_parts
            rows = await self.engine.forward(Step(0, parts, [chunk], tokens=pending))
            start += len(pending)
            pending = await self.engine.sample(rows, [Pick(0, len(found), Sampling())])
            found += pending
        return found


async def node(contents: KvContents) -> Node:
    image, engine = new_region(IMAGE, MODEL.layout.nbytes, 0), SymbolicEngine(INSTANT)
    engine = SymbolicEngine(INSTANT, contents=contents)
    put_image(MODEL.image, 0, image, 0, image.nbytes)
    await engine.prepare(MODEL.layout, MODEL.config, LIMITS)
    kv = SizedRegion(KV, engine.kv.nbytes)
    await engine.attach(image, 0, kv)
    return Node(engine, kv)


def write(source: Node, target: Node, slot: int = 0) -> None:
    for offset, nbytes in source.engine.kv.ranges(slot, 0, MODEL.layout.num_parts, HELD):
        copy(source.kv, offset, nbytes, target.kv, offset)


async def _never(source: Node, target: Node) -> None:
    pass


def right_after(disturb: Callable = _never, before: Callable = _never) -> bool:
    """Move REQUEST after four tokens, `disturb` between write and adoption; say whether it ends right."""

    async def main() -> list[int]:
        contents = KvContents()
        source, target = await node(contents), await node(contents)
        found = await source.generate(list(REQUEST.prompt), 0, 4)
        await before(source, target)
        await source.engine.kv.expose(0, 0, MODEL.layout.num_parts, HELD)
        await disturb(source, target)
        write(source, target)
        await target.engine.kv.adopt(0, 0, MODEL.layout.num_parts, HELD)
        return found + await target.generate(found[-1:], HELD, 4)

    return tuple(run(main())) == reference_tokens(MODEL, [REQUEST], 0)[0]


def test_the_source_may_go_on_with_what_it_exposed_but_not_begin_anew() -> None:
    async def goes_on(source: Node, target: Node) -> None:
        await source.generate([7], HELD, 3)

    async def begins_anew(source: Node, target: Node) -> None:
        await source.generate([7], 0, 1)

    async def goes_elsewhere(source: Node, target: Node) -> None:
        await source.generate([7], 0, 1, slot=1)

    assert right_after(goes_on)
    assert right_after(goes_elsewhere)
    assert not right_after(begins_anew)


def test_an_entry_that_the_source_lost_is_lost_at_the_target() -> None:
    async def drop(source: Node, target: Node) -> None:
        source.engine.cache.drop(2, 0, 4)

    assert right_after()
    assert not right_after(before=drop)


def test_the_source_must_not_detach_before_its_ranges_are_written() -> None:
    async def detach(source: Node, target: Node) -> None:
        await source.engine.detach()
        other = await node(KvContents())
        await other.engine.detach()
        await other.engine.attach(new_region(IMAGE, MODEL.layout.nbytes, 0), 0, source.kv)

    assert not right_after(detach)


def test_a_peer_that_writes_into_a_slot_in_use_makes_tokens_wrong() -> None:
    async def main(slot: int) -> tuple[int, ...]:
        contents = KvContents()
        source, target = await node(contents), await node(contents)
        await source.generate([2, 7, 1, 8], 0, HELD, slot=0)
        await source.engine.kv.expose(0, 0, MODEL.layout.num_parts, HELD)
        found = await target.generate(list(REQUEST.prompt), 0, 4, slot)
        write(source, target)
        return (*found, *await target.generate(found[-1:], HELD, 4, slot))

    right = reference_tokens(MODEL, [REQUEST], 0)[0]
    assert run(main(slot=1)) == right
    assert run(main(slot=0)) != right


def test_a_sequence_computed_again_in_a_half_written_slot_is_right() -> None:
    async def main() -> tuple[int, ...]:
        contents = KvContents()
        source, target = await node(contents), await node(contents)
        await source.generate([2, 7, 1, 8], 0, HELD)
        await source.engine.kv.expose(0, 0, 3, HELD)
        write(source, target)
        return tuple(await target.generate(list(REQUEST.prompt), 0, REQUEST.max_tokens))

    assert run(main()) == reference_tokens(MODEL, [REQUEST], 0)[0]


def test_a_name_that_a_step_has_outdated_is_not_adopted() -> None:
    async def main() -> bool:
        target = await node(KvContents())
        found = await target.generate(list(REQUEST.prompt), 0, 4)
        await target.engine.kv.expose(0, 0, MODEL.layout.num_parts, HELD)
        await target.engine.kv.adopt(0, 0, MODEL.layout.num_parts, HELD)  # in place already
        found += await target.generate(found[-1:], HELD, 4)
        assert tuple(found) == reference_tokens(MODEL, [REQUEST], 0)[0]
        await target.generate([5], 0, 1)
        await target.engine.kv.adopt(0, 0, MODEL.layout.num_parts, HELD)
        return await target.generate(found[3:4], HELD, 4) == found[4:]

    assert not run(main())


def test_the_newest_names_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_names, "_MAX_NAMES", 3)

    async def main() -> list[bool]:
        contents, known = KvContents(), []
        one = await node(contents)
        for _ in range(2):  # the same names again are no new ones
            await one.generate([1, 2], 0, 1)
            await one.engine.kv.expose(0, 0, 4, 2)
        for layer in range(3):
            offset, nbytes = one.engine.kv.ranges(0, layer + 1, layer + 2, 2)[0]
            known.append(bool(contents.get(one.kv.fingerprint(offset, nbytes), 2).any()))
        await one.engine.kv.expose(0, 4, 5, 2)
        offset, nbytes = one.engine.kv.ranges(0, 1, 2, 2)[0]
        return [*known, bool(contents.get(one.kv.fingerprint(offset, nbytes), 2).any())]

    assert run(main()) == [True, True, True, False]


@pytest.mark.parametrize("corrupt", [False, True])
def test_a_cache_of_gigabytes_moves_at_the_rate_of_the_link_without_memory(corrupt: bool) -> None:
    model, network = nominal_model("llama-2-13b"), SimNetwork()
    parts, slot, length = model.layout.num_parts, 3, 512

    async def step(engine: SymbolicEngine, start: int, tokens: list[int]) -> list[int]:
        chunk = Chunk(slot, start, len(tokens), emit=True)
        rows = await engine.forward(Step(0, parts, [chunk], tokens=tokens))
        return await engine.sample(rows, [Pick(0, 0, Sampling())])

    async def main() -> tuple[float, bool]:
        contents, engines, ends = KvContents(), [], []
        for number in range(2):
            end = SimTransport(network, number, 25e9, sized_above=None, sized=(IMAGE, KV))
            engine = SymbolicEngine(INSTANT, contents=contents)
            await engine.prepare(model.layout, model.config, LIMITS)
            image = await end.register(IMAGE, model.layout.nbytes)
            put_image(model.image, 0, image, 0, image.nbytes)
            kv = await end.register(KV, engine.kv.nbytes)
            assert kv.nbytes > 3e9
            end.grant(KV, KV, [(0, kv.nbytes)])
            await engine.attach(image, 0, kv)
            engines.append(engine)
            ends.append(end)
        if corrupt:
            network.corrupt(lambda delivery: delivery.offset > 1e9)
        source, target = engines
        link = await ends[0].connect(1, ends[1].address, Lane.BULK)
        await step(source, 0, [7] * (length - 1))
        started = asyncio.get_running_loop().time()
        await source.kv.expose(slot, 0, parts, length - 1)
        writes = [
            link.write(ends[0].region(KV), offset, nbytes, KV, offset, 0)
            for offset, nbytes in source.kv.ranges(slot, 0, parts, length - 1)
        ]
        await asyncio.gather(*writes)
        await target.kv.adopt(slot, 0, parts, length - 1)
        took_s = asyncio.get_running_loop().time() - started
        return took_s, await step(target, length - 1, [9]) == await step(source, length - 1, [9])

    took_s, same = run(main())
    nbytes = 511 * model.shape.kv_bytes_per_token("float16")
    assert took_s == pytest.approx(nbytes / 25e9, rel=1e-6)
    assert same is not corrupt
