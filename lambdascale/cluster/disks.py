"""Which SSDs hold which image before time counts, and whether every node can then get every model."""

from collections.abc import Collection

from lambdascale.cluster.deployment import ClusterSpec, Deployment
from lambdascale.cluster.slices import Slices
from lambdascale.config import SOURCES
from lambdascale.errors import ConfigError
from lambdascale.storage.residency import Residency
from lambdascale.storage.tiers import Tier


def put_on_disks(
    residency: Residency,
    cluster: ClusterSpec,
    deployment: Deployment,
    slices: Slices,
    deployed: Collection[str],
) -> None:
    """Let the SSDs that are named, or else all with room left, have the image; none goes for it."""
    model, nbytes = deployment.model, deployment.image.layout.nbytes
    initial = deployment.initial.items()
    named = {slices.instance(node) for node, tier in initial if tier is Tier.SSD}
    chosen = [node for instance in sorted(named) for node in slices.nodes(instance)]
    for node in chosen or cluster.nodes:
        if residency.has_room(node, Tier.SSD, nbytes, deployed):
            residency.place(node, Tier.SSD, model, nbytes, 0.0, deployed)
            residency.complete(node, Tier.SSD, model, 0.0)


def check_reach(
    residency: Residency,
    cluster: ClusterSpec,
    deployment: Deployment,
    slices: Slices,
    sources: Collection[str],
) -> None:
    """Raise ConfigError unless any node can get the model wherever its last copy may be."""
    model, given = deployment.model, cluster.capacity.ssd
    on_disk = residency.holders(model, Tier.SSD)
    if len(on_disk) == cluster.num_nodes:
        return
    if not on_disk and set(deployment.initial.values()) <= {Tier.SSD}:
        raise ConfigError(
            f"{model} ({deployment.image.layout.nbytes} bytes) would be nowhere: ssd capacity is {given} for "
            "all models; give more, or name an initial copy"
        )
    needed = SOURCES if on_disk else ("gpu", "host")
    if not set(needed) <= set(sources):
        raise ConfigError(
            f"sources is {tuple(sources)}, but not every SSD has {model}: its only copy may be in one of "
            f"{', '.join(needed)}; allow them all, or give SSDs more than {given} bytes"
        )
    need = slices.largest(deployment.image.blocks)
    if on_disk and need > cluster.capacity.host:
        raise ConfigError(
            f"{model} is on some SSDs only and goes to others through host memory; it needs {need} bytes, "
            f"but host capacity is {cluster.capacity.host}; give more"
        )
