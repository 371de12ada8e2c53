"""What the tokens ought to be: one engine, the whole model in place, one request at a time."""

from collections.abc import Sequence

from lambdascale.engine.base import Chunk, EngineLimits, Pick, Step
from lambdascale.engine.device import DeviceModel
from lambdascale.model.packed import PackedModel
from lambdascale.sim import loop
from lambdascale.sim.content import put_image
from lambdascale.sim.engine import SymbolicEngine
from lambdascale.sim.regions import new_region
from lambdascale.workload.request import Request

_INSTANT = DeviceModel(bandwidth=1e30, flops=1e30)


def reference_tokens(
    model: PackedModel, requests: Sequence[Request], sized_above: int | None = None
) -> dict[int, tuple[int, ...]]:
    """Return the output tokens of every request, undisturbed, by request id.

    `sized_above` is that of the run to compare with.
    """
    return loop.run(_generate_all(model, requests, sized_above))


async def _generate_all(
    model: PackedModel, requests: Sequence[Request], sized_above: int | None
) -> dict[int, tuple[int, ...]]:
    image = new_region(0, model.layout.nbytes, sized_above)
    put_image(model.image, 0, image, 0, image.nbytes)
    longest = max((len(r.prompt) + r.max_tokens for r in requests), default=1)
    engine = SymbolicEngine(_INSTANT)
    await engine.prepare(model.layout, model.config, EngineLimits(1, longest, longest))
    await engine.attach(image, 0, new_region(1, engine.kv.nbytes, sized_above=0))
    return {request.id: await _generate(engine, model, request) for request in requests}


async def _generate(
    engine: SymbolicEngine, model: PackedModel, request: Request
) -> tuple[int, ...]:
    pending, start, output = list(request.prompt), 0, list[int]()
    while len(output) < request.max_tokens and not (output and output[-1] in request.stop):
        chunk = Chunk(0, start, len(pending), emit=True)
        rows = await engine.forward(Step(0, model.layout.num_parts, (chunk,), tokens=pending))
        start += len(pending)
        pending = await engine.sample(rows, [Pick(request.draw_id, len(output), request.sampling)])
        output += pending
    return tuple(output)
