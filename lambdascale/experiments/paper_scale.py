"""The paper's scale-outs, on its testbeds and with its engine, for any of the systems (paper.md 6.1 to 6.5).

7B and 13B run on testbed 1, a GPU a node; 70B on testbed 2, where a node is a host of four GPUs. Warm NCCL
feeds one GPU of a host and lets NVLink do the rest, so its path is the faster one; recorded set-up times of
dynamic NCCL are what is left beyond the slower path, so it runs on that one.
"""

from dataclasses import replace

from lambdascale.config import ScaleSpec
from lambdascale.experiments.cached import Case
from lambdascale.experiments.placed import on
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.system import System
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.hardware import (
    AUTHORS,
    TESTBED1,
    TESTBED2,
    TESTBED2_NVLINK,
    WIRE_RATE,
    Hardware,
)
from lambdascale.sim.models import simulated_model
from lambdascale.workload import authors
from lambdascale.workload.trace import TraceRow

DTYPE = "float16"
LARGE = "llama-2-70b"
OVER_NVLINK = ("nccl-warm",)


def testbed_of(model: str, system: str) -> Hardware:
    """Return the testbed on which the paper runs a model, with the path that a system has there."""
    if not model.startswith(LARGE):
        return TESTBED1
    return TESTBED2_NVLINK if system in OVER_NVLINK else TESTBED2


def nbytes_of(model: str) -> int:
    """Return the bytes of a model."""
    return simulated_model(model, DTYPE).layout.nbytes


def wire_s(model: str) -> float:
    """Return bytes ÷ wire: what no multicast of the testbed can do faster."""
    return nbytes_of(model) / WIRE_RATE


def size_of(model: str) -> str:
    """Return the size by which the paper calls a model.

    >>> size_of("llama-2-13b")
    '13B'
    """
    return model.rpartition("-")[2].upper()


def multicast(system: System, model: str, num_nodes: int, num_sources: int = 1) -> RunSpec:
    """Return a scale-out of `system` from `num_sources` to `num_nodes` nodes that nobody asks anything of."""
    hardware = testbed_of(model, system.spec.name)
    spec = RunSpec(
        model=model,
        dtype=DTYPE,
        scale=ScaleSpec(num_sources, num_nodes),
        link_gbps=hardware.link_gbps,
        device=AUTHORS.device(model, hardware),
        clock="virtual",
    )
    placed = system.scale_out(on(hardware, AUTHORS, spec))
    return replace(placed, label=f"{size_of(model)}, {num_nodes} nodes, {system.spec.name}")


def stress(
    system: System,
    model: str,
    num_nodes: int,
    in_gpu: int = 0,
    in_host: int = 0,
    num_requests: int = 50,
) -> Case:
    """Return the paper's stress test: requests and the order to scale out, both at time 0 (paper.md 6.3).

    `in_gpu` nodes hold the model on their GPUs at first, `in_host` others in host memory.
    """
    hardware = replace(testbed_of(model, system.spec.name), num_nodes=num_nodes)
    spec = TraceSpec(
        models=(model,),
        dtype=DTYPE,
        replay=authors.replay(model),
        num_nodes=num_nodes,
        link_gbps=hardware.link_gbps,
        device=AUTHORS.device(model, hardware),
        initial_gpu=in_gpu,
        initial_host=in_host,
        clock="virtual",
    )
    placed = system.trace(on(hardware, AUTHORS, spec))
    sources = f"k = {in_gpu or in_host}{'' if in_gpu else ' in host memory'}"
    label = f"{size_of(model)}, {sources}, {num_nodes} nodes, {system.spec.name}"
    policy = ScalingPolicy("fixed", min_instances=num_nodes)
    row = TraceRow(0.0, authors.PROMPT_TOKENS, authors.OUTPUT_TOKENS, model)
    return replace(placed, policy=policy, label=label), (row,) * num_requests
