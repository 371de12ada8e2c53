"""Which agents of a Ray cluster are wanted: how many, where, with how many GPUs, on which network.

A pure value, part of a cluster file; `fleet.ray` starts what it says.
"""

import ipaddress
from dataclasses import dataclass, field

from lambdascale.errors import ConfigError

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Placement:
    """`per_node` agents on each of `nodes` nodes of the cluster whose Ray head is at `ray` (host:port).

    `auto` is the cluster that this machine is a node of. Each agent has `gpus` GPUs to itself. It listens
    at its node's address in `network` (CIDR), or where Ray knows the node if that is empty. `environment`
    is added to that of every agent.
    """

    ray: str = AUTO
    nodes: int = 1
    per_node: int = 1
    gpus: int = 0
    network: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_address(self.ray)
        for name, least in (("nodes", 1), ("per_node", 1), ("gpus", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least {least}")
        if self.network:
            _check_network(self.network)

    @property
    def num_agents(self) -> int:
        """How many agents there are in all."""
        return self.nodes * self.per_node

    @property
    def bundles(self) -> list[dict[str, int]]:
        """What each node must have to spare, in Ray's terms."""
        gpus = {"GPU": self.per_node * self.gpus} if self.gpus else {}
        return [{"CPU": self.per_node} | gpus for _ in range(self.nodes)]


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if address != AUTO and not (host and port.isdecimal()):
        raise ConfigError(f"ray is {address!r}; give HOST:PORT of the head node, or {AUTO}")


def _check_network(network: str) -> None:
    try:
        ipaddress.ip_network(network)
    except ValueError as error:
        raise ConfigError(
            f"network is {network!r} ({error}); give one like 10.0.0.0/24, or leave it out"
        ) from error
