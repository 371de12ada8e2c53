"""Messages about nodes that are gone: what survivors are told, and what they answer when all is quiet."""

import msgspec

from lambdascale.control.message import Base


class NodeLost(Base, frozen=True):
    """Controller → agent: `node` is gone, perhaps for now; begin no more sends of `scale_outs`.

    Drop what comes of `pipelines`, of which it was a stage.
    Fill the copies of `forsaken` models on the GPU no further: they come to nothing.
    """

    node: int
    scale_outs: tuple[int, ...]
    pipelines: tuple[int, ...]
    forsaken: tuple[str, ...]


class Delivered(msgspec.Struct, frozen=True):
    """`block` was written into the copy of `dst` as part of a scale-out."""

    scale_out: int
    dst: int
    block: int


class LossNoted(Base, frozen=True):
    """Agent → controller: nothing that has to do with node `lost` is under way at `node` any more.

    `delivered` is what it has sent lately in the scale-outs that were named.
    """

    node: int
    lost: int
    delivered: tuple[Delivered, ...]


class Unreachable(Base, frozen=True):
    """Agent → controller: a link from `node` to `peer` is broken."""

    node: int
    peer: int
