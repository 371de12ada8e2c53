"""A specification on a testbed, in virtual time: what hardware and engine say, filled in."""

from dataclasses import replace
from typing import TypeVar

from lambdascale.engine.base import EngineLimits
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.sim.engine_spec import DTYPE, EngineSpec
from lambdascale.sim.machines import Hardware

S = TypeVar("S", RunSpec, TraceSpec)


def on(hardware: Hardware, engine: EngineSpec, spec: S, dtype: str = DTYPE) -> S:
    """Return `spec` with nodes, rates, sizes, device, limits and conditions of the hardware and engine.

    A trace gets all nodes of the hardware, a scale-out at most those; ConfigError if it wants more. GPUs hold
    one model at a time: what is beside its weights belongs to the KV entries.
    """
    if isinstance(spec, TraceSpec):
        return _trace_on(hardware, engine, spec, dtype)
    return _run_on(hardware, engine, spec, dtype)


def _trace_on(hardware: Hardware, engine: EngineSpec, spec: TraceSpec, dtype: str) -> TraceSpec:
    limits, device = _engine(hardware, engine, spec.models, dtype)
    return replace(
        spec,
        dtype=dtype,
        num_nodes=hardware.num_nodes,
        gpus_per_node=hardware.gpus_per_node,
        policy=replace(spec.policy, per_instance=hardware.gpus_per_node),
        in_flight=_in_flight(hardware, engine, spec.models, dtype),
        max_slots=limits.max_slots,
        max_length=limits.max_length,
        max_step_tokens=limits.max_step_tokens,
        host_gb=hardware.host_gb,
        ssd_gb=hardware.ssd_gb,
        link_gbps=hardware.link_gbps,
        pcie_gbps=hardware.pcie_gbps,
        ssd_gbps=hardware.ssd_gbps,
        device=device,
        conditions=hardware.conditions,
        clock="virtual",
    )


def _run_on(hardware: Hardware, engine: EngineSpec, spec: RunSpec, dtype: str) -> RunSpec:
    if spec.scale.num_nodes > hardware.num_nodes:
        raise ConfigError(
            f"num_nodes is {spec.scale.num_nodes}, but {hardware.name} has {hardware.num_nodes}; give fewer"
        )
    limits, device = _engine(hardware, engine, (spec.model,), dtype)
    scale = replace(
        spec.scale,
        in_flight=_in_flight(hardware, engine, (spec.model,), dtype),
        max_slots=limits.max_slots,
        max_length=limits.max_length,
        max_step_tokens=limits.max_step_tokens,
    )
    return replace(
        spec,
        dtype=dtype,
        scale=scale,
        link_gbps=hardware.link_gbps,
        device=device,
        conditions=hardware.conditions,
        clock="virtual",
    )


def _in_flight(hardware: Hardware, engine: EngineSpec, models: tuple[str, ...], dtype: str) -> int:
    """How many requests a node serves at once, whatever the model."""
    return min(engine.requests(model, hardware, dtype) for model in models)


def _engine(
    hardware: Hardware, engine: EngineSpec, models: tuple[str, ...], dtype: str
) -> tuple[EngineLimits, DeviceModel]:
    """The limits that suit all models, and their device, which must be the same."""
    limits = min(
        (engine.limits(model, hardware, dtype) for model in models), key=lambda each: each.max_slots
    )
    devices = [engine.device(model, hardware, dtype) for model in models]
    if devices.count(devices[0]) < len(devices):
        raise ConfigError(f"{', '.join(models)} have different devices; serve them in runs apart")
    return limits, devices[0]
