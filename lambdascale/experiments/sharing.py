"""A few models that share fewer GPUs than they could use, under bursts: the whole system, in virtual time."""

from lambdascale.config import SystemSpec
from lambdascale.experiments.cached import Case
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.model.nominal import fine_tuned
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.engine_spec import AUTHORS, DTYPE
from lambdascale.sim.testbeds import TESTBED1
from lambdascale.workload.arrivals import Bursts, bursty
from lambdascale.workload.replay import Replay

TOKENS = 64  # of a prompt, and of an answer
BURSTS = Bursts(surge=20.0, burst_s=15.0)
SYSTEM = SystemSpec(
    gpu_keep_alive_s=5.0, host_keep_alive_s=30.0
)  # short: a short run shows every start


def sharing(
    model: str,
    num_models: int,
    num_nodes: int,
    requests_per_minute: float,
    duration_s: float,
    seed: int,
) -> Case:
    """Return fine-tuned copies of `model` on nodes of the paper's testbed, all asked for equally often."""
    spec = TraceSpec(
        models=fine_tuned(model, num_models),
        dtype=DTYPE,
        system=SYSTEM,
        policy=ScalingPolicy(idle_s=5.0),
        replay=Replay(1.0, TOKENS, TOKENS),
        num_nodes=num_nodes,
        max_slots=2,
        link_gbps=TESTBED1.link_gbps,
        pcie_gbps=TESTBED1.pcie_gbps,
        ssd_gbps=TESTBED1.ssd_gbps,
        device=AUTHORS.device(model, TESTBED1),
        clock="virtual",
        label=f"{num_models} models on {num_nodes} nodes",
    )
    rate = requests_per_minute / 60
    return spec, bursty(spec.models, rate, duration_s, seed, BURSTS, TOKENS, TOKENS)
