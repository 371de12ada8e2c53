"""What agent processes run here, and the nursery that has imported it before they are born."""

from lambdascale.fleet.nursery import Nursery
from lambdascale.model.shape import ARCHITECTURES

ENTRY = "lambdascale.cluster.entry:main"
MODELS = tuple(f"transformers.models.{name}.modeling_{name}" for name in ARCHITECTURES)


def agent_nursery() -> Nursery:
    """Start a nursery for agents; importing takes it some seconds, in which its maker can work."""
    return Nursery(("lambdascale.cluster.entry", *MODELS))
