"""Replaying a trace on a cluster, on real processes or in virtual time: one session, two sets of leaves."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from lambdascale.cluster.deployment import ClusterSpec, Deployment
from lambdascale.cluster.records import RunLog
from lambdascale.engine.base import EngineLimits
from lambdascale.errors import ConfigError
from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.inputs import check_memory, working_nbytes
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.run import Watch, ignore, in_processes
from lambdascale.experiments.session import Session
from lambdascale.experiments.simulated import SIZED_ABOVE, in_virtual_time
from lambdascale.experiments.spec import pace_of
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.fleet.base import AgentSpec, Site
from lambdascale.model.catalogue import load_packed
from lambdascale.model.checksum import block_checksums
from lambdascale.model.image import ImageSource
from lambdascale.model.packed import PackedModel
from lambdascale.sim.models import image_checksums, simulated_model
from lambdascale.storage.arena import whole_pages
from lambdascale.storage.tiers import Capacity, Tier
from lambdascale.units import from_gigabytes
from lambdascale.workload.request import Request
from lambdascale.workload.trace import TraceRow


@dataclass(frozen=True, slots=True)
class Workload:
    """The models as agents are told of them, what is asked of them, and what was cut of the trace."""

    images: Mapping[str, ImageSource]
    requests: tuple[Request, ...]
    note: str


def run_trace(
    spec: TraceSpec,
    rows: Sequence[TraceRow],
    watch: Watch = ignore,
    site: Site | None = None,
) -> RunResult:
    """Replay `rows` as `spec` says and return the result; `watch` sees every record as it happens.

    Raises LambdaScaleError.
    """
    called_s = time.monotonic()
    workload = load_workload(spec, rows)
    session, log = trace_session(spec, workload), RunLog(watch, spec.every_token)
    if spec.clock == "virtual":
        in_virtual_time(session, log, spec.conditions)
    else:
        check_cluster_memory(spec, session)
        with nullcontext(site) if site else agent_site() as warm:
            in_processes(session, log, warm, called_s)
    return RunResult.of(spec, log.records, workload.requests, workload.note)


def load_workload(spec: TraceSpec, rows: Sequence[TraceRow]) -> Workload:
    """Load every model, and turn rows into requests; raises ConfigError if they do not fit."""
    packed = {model: _model(spec, model) for model in spec.models}
    images = {model: ImageSource.of(p, _checksums(spec, p)) for model, p in packed.items()}
    requests = spec.replay.requests(rows, {m: range(p.shape.vocab) for m, p in packed.items()})
    _check_lengths(spec, packed)
    return Workload(images, requests, spec.replay.statement(rows))


def _model(spec: TraceSpec, model: str) -> PackedModel:
    if spec.clock == "virtual":
        return simulated_model(model, spec.dtype)
    return load_packed(model, spec.dtype)


def _checksums(spec: TraceSpec, packed: PackedModel) -> tuple[int, ...]:
    if spec.clock == "virtual":
        return image_checksums(packed, spec.num_blocks, SIZED_ABOVE)
    return block_checksums(packed, spec.num_blocks)


def _check_lengths(spec: TraceSpec, packed: Mapping[str, PackedModel]) -> None:
    longest = spec.replay.max_prompt + spec.replay.max_output
    for model, p in packed.items():
        limit = min(spec.max_length, p.shape.context_length)
        if longest > limit:
            raise ConfigError(
                f"max_prompt + max_output is {longest} tokens, but {limit} fit for {model}; cut more, or "
                "raise max_length"
            )


def trace_session(spec: TraceSpec, workload: Workload) -> Session:
    """Return the session of a trace."""
    sizes = [image.layout.nbytes for image in workload.images.values()]
    cluster = ClusterSpec(
        spec.num_nodes,
        _capacity(spec, sizes),
        spec.timeout_s,
        spec.preconnect,
        spec.system.link_rate(spec.rate("link_gbps")),
        spec.conditions.latency_s,
        spec.device,
        decision_s=spec.conditions.decision_s,
        set_up=spec.conditions.set_up,
        restart_s=spec.restart_s,
    )
    deployments = tuple(_deployment(spec, m, image) for m, image in workload.images.items())
    agents = tuple(_agent(spec, node) for node in cluster.nodes)
    requests, deaths = workload.requests, spec.conditions.deaths
    return Session(spec.system, cluster, deployments, requests, agents, deaths)


def _capacity(spec: TraceSpec, sizes: Sequence[int]) -> Capacity:
    pages = [whole_pages(size) for size in sizes]
    enough = {"gpu_gb": max(pages), "host_gb": sum(pages), "ssd_gb": sum(pages)}
    given = {name: getattr(spec, name) for name in enough}
    gpu, host, ssd = (
        enough[name] if size is None else int(from_gigabytes(size)) for name, size in given.items()
    )
    return Capacity(gpu, host, ssd)


def _deployment(spec: TraceSpec, model: str, image: ImageSource) -> Deployment:
    limits = EngineLimits(
        spec.max_slots, min(spec.max_length, image.shape.context_length), spec.max_step_tokens
    )
    gpu, host = spec.initial_gpu, spec.initial_host
    initial = dict.fromkeys(range(gpu), Tier.GPU) | dict.fromkeys(range(gpu, gpu + host), Tier.HOST)
    return Deployment(model, image, limits, spec.policy, initial, in_flight=spec.in_flight)


def _agent(spec: TraceSpec, node: int) -> AgentSpec:
    rate = spec.rate("link_gbps")
    link = pace_of(spec.clock, spec.link, rate, spec.system.link_rate(rate))
    ssd, pcie = (spec.system.tier_rate(spec.rate(name)) for name in ("ssd_gbps", "pcie_gbps"))
    return AgentSpec(node, "", spec.transport, link, spec.device, ssd, pcie)


def check_cluster_memory(spec: TraceSpec, session: Session) -> None:
    """Raise ConfigError if the nodes of `session` are here and need more memory than there is."""
    if spec.cluster:
        return
    capacity = session.cluster.capacity
    models = [(d.limits, d.image.layout, d.image.shape) for d in session.deployments]
    each = capacity.gpu + capacity.host + working_nbytes(models, spec.num_nodes)
    check_memory(
        spec.num_nodes * each,
        f"{spec.num_nodes} nodes",
        "lower num_nodes, gpu_gb, host_gb or max_length",
    )
