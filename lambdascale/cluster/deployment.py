"""What a cluster is and what is deployed on it, as the controller is told."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from lambdascale.engine.base import EngineLimits
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.model.image import ImageSource
from lambdascale.policy import ScalingPolicy
from lambdascale.storage.tiers import Capacity, Tier


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """`num_nodes` devices of equal capacity; `timeout_s` bounds the whole run.

    With `preconnect`, links between all nodes are opened before time counts. `link_rate` (bytes/s),
    `latency_s` and `device` are what predictions of times go by, if known.
    """

    num_nodes: int
    capacity: Capacity
    timeout_s: float = 600.0
    preconnect: bool = True
    link_rate: float = math.inf
    latency_s: float = 0.0
    device: DeviceModel | None = None

    def __post_init__(self) -> None:
        if self.num_nodes < 1:
            raise ConfigError(f"nodes is {self.num_nodes}; a cluster needs at least 1")
        if not self.timeout_s > 0:
            raise ConfigError(f"timeout_s is {self.timeout_s}; it must be positive")

    @property
    def nodes(self) -> range:
        return range(self.num_nodes)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model that may be asked for: its image, limits of an instance, and how it scales.

    `initial` says where copies lie before time counts (node → GPU or HOST); those on a GPU serve at once.
    An instance spans `nodes_per_instance` consecutive nodes.
    """

    model: str
    image: ImageSource
    limits: EngineLimits
    policy: ScalingPolicy = field(default_factory=ScalingPolicy)
    initial: Mapping[int, Tier] = field(default_factory=dict)
    nodes_per_instance: int = 1

    def __post_init__(self) -> None:
        if self.nodes_per_instance < 1:
            raise ConfigError(
                f"nodes_per_instance of {self.model} is {self.nodes_per_instance}; give at least 1"
            )


def check(cluster: ClusterSpec, deployments: tuple[Deployment, ...]) -> None:
    """Raise ConfigError if a model fits nowhere, or an initial copy lies on no node."""
    names = [deployment.model for deployment in deployments]
    if not names:
        raise ConfigError("no model is deployed; name at least one")
    if len(set(names)) < len(names):
        raise ConfigError(f"models {', '.join(names)} repeat; deploy each once")
    for deployment in deployments:
        _check_fit(cluster, deployment)


def _check_fit(cluster: ClusterSpec, deployment: Deployment) -> None:
    model, span = deployment.model, deployment.nodes_per_instance
    need = -(-deployment.image.layout.nbytes // span)
    if need > cluster.capacity.gpu:
        raise ConfigError(
            f"{model} needs {need} bytes on each of {span} GPUs, but gpu capacity is "
            f"{cluster.capacity.gpu}; give the GPUs more or let it span more nodes"
        )
    if span > cluster.num_nodes:
        raise ConfigError(
            f"{model} spans {span} nodes, but nodes is {cluster.num_nodes}; give the cluster more"
        )
    for node in deployment.initial:
        if node not in cluster.nodes:
            raise ConfigError(
                f"an initial copy of {model} lies on node {node}; nodes are 0 to {cluster.num_nodes - 1}"
            )
