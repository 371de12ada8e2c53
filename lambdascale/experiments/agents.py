"""What agent processes run, and the sites whose nurseries have imported it before they are born."""

from lambdascale.fleet.base import Site
from lambdascale.fleet.door import Door
from lambdascale.fleet.local import LocalSite
from lambdascale.fleet.placement import Placement
from lambdascale.model.shape import ARCHITECTURES

ENTRY = "lambdascale.cluster.entry:main"
MODELS = tuple(f"transformers.models.{name}.modeling_{name}" for name in ARCHITECTURES)
PRELOAD = ("lambdascale.cluster.entry", *MODELS)


def local_site(door: Door | None = None) -> LocalSite:
    """Return this machine; what waits at `door` goes on there."""
    return LocalSite(PRELOAD, door=door)


def agent_site(placement: Placement | None = None) -> Site:
    """Return where agents can be started: on a Ray cluster as `placement` says, or on this machine.

    Its nurseries import for some seconds, in which their maker can work.
    """
    if placement is None:
        return local_site()
    from lambdascale.fleet.ray import RaySite

    return RaySite(placement, PRELOAD)
