"""Messages about how long writes take, and about sends that stop as a node of the scale-out is slow."""

import msgspec

from lambdascale.control.loss_messages import Delivered
from lambdascale.control.message import Base


class Write(msgspec.Struct, frozen=True):
    """A write of a block to `peer` took `seconds`, or has been under way for so long."""

    peer: int
    seconds: float


class Written(Base, frozen=True):
    """Agent → controller: `node` has done these writes of a scale-out since it last said so.

    `open`: those that are under way (coalesced with what has arrived).
    """

    node: int
    scale_out: int
    done: tuple[Write, ...]
    open: tuple[Write, ...]


class StopSends(Base, frozen=True):
    """Controller → agent: begin no more sends of `scale_outs`, and answer with the last of them.

    Writes to and from `slow` nodes that are under way are not waited for.
    """

    scale_outs: tuple[int, ...]
    slow: tuple[int, ...]


class SendsStopped(Base, frozen=True):
    """Agent → controller: `node` begins no more of the sends that it was to stop; `coming` are under way.

    `scale_out` is the last of those named.
    """

    node: int
    scale_out: int
    delivered: tuple[Delivered, ...]
    coming: tuple[Delivered, ...]
