"""A specification on a cluster: its transport, and what its links carry, as the cluster file says."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import NOMINAL, PACED, SHAPED, RunSpec
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.fleet.placement import Placement
from lambdascale.provision.cluster_file import ClusterFile, read_cluster

S = TypeVar("S", RunSpec, TraceSpec)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster file and the name that results state for it."""

    name: str
    file: ClusterFile

    @classmethod
    def read(cls, path: Path) -> "Cluster":
        """Read a cluster file, whose name is the cluster's; raises ConfigError."""
        return cls(path.stem, read_cluster(path))

    def placed(self, spec: S) -> S:
        """Return `spec` with this cluster's transport, and its links at their own rate if it states one."""
        file = self.file
        num_nodes = spec.scale.num_nodes if isinstance(spec, RunSpec) else spec.num_nodes
        if num_nodes > file.agents.num_agents:
            raise ConfigError(
                f"nodes is {num_nodes}, but cluster {self.name} has {file.agents.num_agents} agents; lower "
                "nodes, or raise agents.nodes or agents.per_node in its file"
            )
        spec = replace(spec, cluster=self.name, transport=file.transport)
        if file.imposed_gbps:
            return replace(spec, link_gbps=file.imposed_gbps, link=SHAPED)
        return replace(spec, link_gbps=file.link_gbps, link=NOMINAL) if file.link_gbps else spec


def placed(
    spec: S, cluster: Cluster | None, transport: str | None, link_gbps: float | None
) -> tuple[S, Placement | None]:
    """Return `spec` as it is on a cluster, if there is one, and where its agents are.

    A transport or a rate (Gbit/s) that a user has given holds on a cluster, too.
    """
    if cluster:
        spec = cluster.placed(spec)
    if transport:
        spec = replace(spec, transport=transport)
    if link_gbps is not None:
        spec = replace(spec, link_gbps=link_gbps, link=PACED)
    return spec, cluster.file.agents if cluster else None
