"""What agent processes run, and the sites whose nurseries have imported it before they are born."""

from lambdascale.fleet.base import Site
from lambdascale.fleet.local import LocalSite
from lambdascale.fleet.placement import Placement
from lambdascale.model.shape import ARCHITECTURES

ENTRY = "lambdascale.cluster.entry:main"
MODELS = tuple(f"transformers.models.{name}.modeling_{name}" for name in ARCHITECTURES)


def agent_site(placement: Placement | None = None) -> Site:
    """Return where agents can be started: on a Ray cluster as `placement` says, or on this machine.

    Its nurseries import for some seconds, in which their maker can work.
    """
    preload = ("lambdascale.cluster.entry", *MODELS)
    if placement is None:
        return LocalSite(preload)
    from lambdascale.fleet.ray import RaySite

    return RaySite(placement, preload)
