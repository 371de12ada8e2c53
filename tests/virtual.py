"""Scale-outs in virtual time for tests: a small symbolic model, links slow enough to serve meanwhile."""

from dataclasses import replace

from lambdascale.cluster.records import Record, RunLog
from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.scaling import scale_out
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.image import ImageSource
from lambdascale.sim import loop
from lambdascale.sim.control import SimControl
from lambdascale.sim.fleet import SimFleet
from lambdascale.sim.models import image_checksums, symbolic_model
from lambdascale.sim.network import SimNetwork
from lambdascale.workload.request import Request, Sampling

MODEL = symbolic_model(num_layers=8, hidden=32)
BLOCK_TIMES = 6.0  # decode steps that one block's transfer lasts


def virtual_spec(
    num_sources: int,
    num_nodes: int,
    num_blocks: int = 16,
    max_slots: int = 4,
    system: SystemSpec | None = None,
) -> RunSpec:
    """A scale-out whose load takes about num_blocks × BLOCK_TIMES decode steps."""
    step_s = 0.01
    nbytes = MODEL.layout.nbytes
    device = DeviceModel(bandwidth=nbytes / step_s, flops=1e12)
    gbps = nbytes / num_blocks / (BLOCK_TIMES * step_s) * 8 / 1e9
    scale = ScaleSpec(num_sources, num_nodes, num_blocks, max_slots, max_step_tokens=16)
    return RunSpec(
        model="symbolic",
        system=system or SystemSpec(),
        scale=scale,
        transport="sim",
        link_gbps=gbps,
        device=device,
        clock="virtual",
    )


def some_requests(
    count: int, max_tokens: int = 48, temperature: float = 0.0
) -> tuple[Request, ...]:
    """Requests of different lengths, all at time 0."""
    sampling = Sampling(temperature, seed=5)
    return tuple(
        Request(
            i,
            tuple((i * 37 + 11 * j) % 1000 for j in range(1 + (5 * i) % 23)),
            max_tokens,
            sampling,
        )
        for i in range(count)
    )


class Cluster:
    """One run and the handles to disturb it."""

    def __init__(self, spec: RunSpec, requests: tuple[Request, ...]) -> None:
        self.spec = replace(spec, scale=replace(spec.scale, timeout_s=1e6))
        checksums = image_checksums(MODEL, spec.scale.num_blocks)
        image = ImageSource.of(MODEL, checksums)
        self.inputs = Inputs(image, requests)
        self.network, self.control = SimNetwork(20e-6), SimControl(20e-6)
        self.fleet = SimFleet(self.network, self.control)
        self.log = RunLog(self.seen)

    def seen(self, record: Record) -> None:
        """Override to act when something happens."""

    def run(self) -> RunResult:
        """Run to the end in virtual time."""
        session = scale_out(self.spec, self.inputs)
        loop.run(session.run(self.control, self.fleet, self.log))
        return RunResult.of(self.spec, self.log.records, self.inputs.requests)
