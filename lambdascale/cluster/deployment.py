"""What a cluster is and what is deployed on it, as the controller is told."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lambdascale.cluster.slices import Slices
from lambdascale.config import SystemSpec, check_in_flight
from lambdascale.engine.base import EngineLimits
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.model.image import ImageSource
from lambdascale.multicast.plan import plan
from lambdascale.policy import ScalingPolicy
from lambdascale.storage.tiers import Capacity, Tier
from lambdascale.workload.request import Request, check_ids


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """`num_nodes` devices of equal capacity; `timeout_s` bounds the whole run.

    With `preconnect`, links between all nodes are opened before time counts. `link_rate` (bytes/s),
    `latency_s` and `device` are what predictions of times go by, if known.
    `nodes_per_host` consecutive nodes share a host: blocks come to it once and go on over its own links.
    A scale-out takes `decision_s` to decide upon; nodes that it takes, unless they start hot, then go
    through `set_up` (phase, seconds) before they get links. The agent of a node that has ended is started
    again after `restart_s` (None: never), later if it hardly lives. Agents are asked every `heartbeat_s`
    whether they are there (0: never); one that is silent for `silence_s` is ended.
    """

    num_nodes: int
    capacity: Capacity
    timeout_s: float = 600.0
    preconnect: bool = True
    link_rate: float = math.inf
    latency_s: float = 0.0
    device: DeviceModel | None = None
    nodes_per_host: int = 1
    decision_s: float = 0.0
    set_up: tuple[tuple[str, float], ...] = ()
    restart_s: float | None = None
    heartbeat_s: float = 0.0
    silence_s: float = 10.0

    def __post_init__(self) -> None:
        if self.num_nodes < 1:
            raise ConfigError(f"nodes is {self.num_nodes}; a cluster needs at least 1")
        if self.nodes_per_host < 1:
            raise ConfigError(f"nodes_per_host is {self.nodes_per_host}; it must be at least 1")
        if not self.timeout_s > 0:
            raise ConfigError(f"timeout_s is {self.timeout_s}; it must be positive")
        if not 0 <= self.heartbeat_s <= self.silence_s < math.inf:
            raise ConfigError(
                f"heartbeat_s is {self.heartbeat_s} and silence_s {self.silence_s}; give seconds, the "
                "second no less than the first"
            )
        for what, seconds in (("decision_s", self.decision_s), *self.set_up):
            if not 0 <= seconds < math.inf:
                raise ConfigError(f"{what} is {seconds}; give seconds, 0 or more")
        if self.restart_s is not None and not 0 <= self.restart_s < math.inf:
            raise ConfigError(f"restart_s is {self.restart_s}; give seconds, 0 or more, or None")

    def host_of(self, node: int) -> int:
        """Return the host of a node: consecutive nodes share one."""
        return node // self.nodes_per_host

    @property
    def nodes(self) -> range:
        return range(self.num_nodes)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model that may be asked for: its image, limits of an instance, and how it scales.

    `initial` says where copies lie before time counts (node → tier); those on a GPU serve at once. If it
    names no SSD, every SSD with room for the image has it.
    An instance spans `nodes_per_instance` consecutive nodes. It serves `in_flight` requests at once, and an
    execution pipeline as many for each of its instances, as far as there are slots (None: all slots).
    """

    model: str
    image: ImageSource
    limits: EngineLimits
    policy: ScalingPolicy = field(default_factory=ScalingPolicy)
    initial: Mapping[int, Tier] = field(default_factory=dict)
    nodes_per_instance: int = 1
    in_flight: int | None = None

    def __post_init__(self) -> None:
        check_in_flight(self.in_flight, self.limits.max_slots)
        if self.nodes_per_instance < 1:
            raise ConfigError(
                f"nodes_per_instance of {self.model} is {self.nodes_per_instance}; give at least 1"
            )

    @property
    def capacity(self) -> int:
        """How many requests an instance serves at once."""
        return self.pipeline_capacity(1)

    def pipeline_capacity(self, num_instances: int) -> int:
        """Return how many requests a pipeline of several instances serves at once."""
        slots = self.limits.max_slots
        return slots if self.in_flight is None else min(slots, self.in_flight * num_instances)


def check(system: SystemSpec, cluster: ClusterSpec, deployments: tuple[Deployment, ...]) -> None:
    """Raise ConfigError if the system names what is unknown, a model fits nowhere, or a node is none."""
    plan(system.algorithm, num_nodes=2, num_sources=1, num_blocks=2, order=system.order)
    names = [deployment.model for deployment in deployments]
    if not names:
        raise ConfigError("no model is deployed; name at least one")
    if len(set(names)) < len(names):
        raise ConfigError(f"models {', '.join(names)} repeat; deploy each once")
    for deployment in deployments:
        _check_fit(cluster, deployment)


def _check_fit(cluster: ClusterSpec, deployment: Deployment) -> None:
    model, span = deployment.model, deployment.nodes_per_instance
    if span > cluster.num_nodes:
        raise ConfigError(
            f"{model} spans {span} nodes, but nodes is {cluster.num_nodes}; give the cluster more"
        )
    slices = Slices.of(deployment.image.layout, deployment.image.blocks, span)
    need = slices.largest(deployment.image.blocks)
    if need > cluster.capacity.gpu:
        raise ConfigError(
            f"{model} needs {need} bytes on each of {span} GPUs, but gpu capacity is "
            f"{cluster.capacity.gpu}; give the GPUs more or let it span more nodes"
        )
    starts = range(0, cluster.num_nodes - span + 1, span)
    for node, tier in deployment.initial.items():
        if node not in (cluster.nodes if tier is Tier.SSD else starts):
            raise ConfigError(
                f"an initial copy of {model} is in the {tier.name} tier of node {node}; it can begin at "
                f"one of the nodes {', '.join(map(str, starts))}"
            )


def model_of(request: Request, models: Collection[str]) -> str:
    """Return the one of `models` that a request is for; ConfigError if that is none."""
    known = ", ".join(models)
    if not request.model and len(models) > 1:
        raise ConfigError(f"request {request.id} names no model; name one of {known}")
    name = request.model or next(iter(models))
    if name not in models:
        raise ConfigError(
            f"model {name!r} of request {request.id} is not deployed; deployed are: {known}"
        )
    return name


def check_requests(deployments: Sequence[Deployment], requests: Sequence[Request]) -> None:
    """Raise ConfigError if a request is for no model that is deployed, does not fit, or repeats an id."""
    limits = {deployment.model: deployment.limits for deployment in deployments}
    check_ids(requests)
    for request in requests:
        limit = limits[model_of(request, limits)].max_length
        if len(request.prompt) + request.max_tokens > limit:
            raise ConfigError(
                f"request {request.id} may have {len(request.prompt)} + {request.max_tokens} tokens, but "
                f"max_length is {limit}; shorten it or raise max_length"
            )
