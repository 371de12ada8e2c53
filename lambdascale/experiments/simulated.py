"""A run under the virtual clock: the same session, controller and agents on simulated leaves."""

import math
from collections.abc import Callable

from lambdascale.cluster.records import Record, RunLog
from lambdascale.experiments.inputs import Inputs, check, check_blocks, check_inputs, make_requests
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.scaling import scale_out
from lambdascale.experiments.session import Session
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.image import ImageSource
from lambdascale.model.packed import PackedModel
from lambdascale.sim import loop
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.control import SimControl
from lambdascale.sim.fleet import ObserveNode, SimFleet, SimHost
from lambdascale.sim.models import image_checksums, simulated_model
from lambdascale.sim.network import SimNetwork

SIZED_ABOVE = 0  # bytes; larger regions are simulated without memory, so all but inboxes


def simulate(
    spec: RunSpec, watch: Callable[[Record], None], inputs: Inputs | None = None
) -> RunResult:
    """Run `spec` in virtual time; without `inputs` its prompts are tokenised as for a real run."""
    if inputs:
        check_inputs(spec, inputs)
    inputs = inputs or symbolic_inputs(spec)
    log = RunLog(watch)
    in_virtual_time(scale_out(spec, inputs), log, spec.conditions)
    return RunResult.of(spec, log.records, inputs.requests)


def in_virtual_time(
    session: Session,
    log: RunLog,
    conditions: Conditions,
    local_rate: float = math.inf,
    observe: ObserveNode | None = None,
) -> None:
    """Run a session on simulated leaves under `conditions`.

    Nodes of one host write at `local_rate` (bytes/s) among themselves; `observe` is told of every step.
    """
    loop.run(_virtual(session, log, conditions, local_rate, observe))


async def _virtual(
    session: Session,
    log: RunLog,
    conditions: Conditions,
    local_rate: float,
    observe: ObserveNode | None,
) -> None:
    network = SimNetwork(
        conditions.latency_s,
        conditions.occupancy_s,
        session.cluster.nodes_per_host,
        local_rate,
        conditions.connect_s,
        conditions.jitter,
        conditions.seed,
        conditions.corruption,
    )
    control = SimControl(conditions.control_s)
    host = SimHost(SIZED_ABOVE, wide_rows=True, conditions=conditions, observe=observe)
    await session.run(control, SimFleet(network, control, host), log)


def symbolic_inputs(spec: RunSpec, num_requests: int = 0, prompt_tokens: int = 0) -> Inputs:
    """Return a symbolic image of the model and the requests of `spec`.

    Its prompts are tokenised if the model has a tokenizer; otherwise `num_requests` requests of
    `prompt_tokens` made-up tokens are served.
    """
    check(spec)
    packed = simulated_model(spec.model, spec.dtype)
    check_blocks(spec, packed.layout)
    checksums = image_checksums(packed, spec.scale.num_blocks, SIZED_ABOVE)
    image = ImageSource.of(packed, checksums)
    vocab = packed.shape.vocab
    prompts = _tokenised(packed, spec.prompts) or [
        tuple((31 * request + 7 * position) % vocab for position in range(prompt_tokens))
        for request in range(num_requests)
    ]
    return Inputs(image, make_requests(spec, prompts, packed.shape, stop=()))


def _tokenised(packed: PackedModel, prompts: tuple[str, ...]) -> list[tuple[int, ...]]:
    if not prompts:
        return []
    from lambdascale.model.text import Tokenizer

    tokenizer = Tokenizer(packed)
    return [tokenizer.encode_chat(prompt) for prompt in prompts]
