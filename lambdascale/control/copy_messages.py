"""Messages about copies of models on a node: what it holds, loads, sends and has received."""

import msgspec

from lambdascale.control.message import Base
from lambdascale.multicast.schedule import Transfer
from lambdascale.storage.tiers import Tier


class Hold(Base, frozen=True):
    """There is to be a copy of `model` in `tier`; byte 0 of its image is at `base` of that arena.

    Of the image only bytes of parts [first, stop) will come, if the model spans several nodes. On the GPU
    peers may write them under `key`, until all are here.
    """

    model: str
    tier: Tier
    base: int
    first: int
    stop: int
    key: int = 0


class Rekey(Base, frozen=True):
    """What is missing of the copy on the GPU will come under `key`, and nothing under the one before."""

    model: str
    key: int


class Drop(Base, frozen=True):
    """Forget the copy; with `release`, give bytes [offset, offset + nbytes) of the arena back."""

    model: str
    tier: Tier
    offset: int
    nbytes: int
    release: bool


class Serve(Base, frozen=True):
    """This device now serves `model`, of which it has, or will have, a copy on its GPU."""

    model: str


class Load(Base, frozen=True):
    """Fill the copy in `target` with `blocks`, in this order, from this node's own `source` tier.

    Onto an SSD goes the whole image at once, which must be complete in `source`.
    """

    model: str
    source: Tier
    target: Tier
    blocks: tuple[int, ...]


class Target(msgspec.Struct, frozen=True):
    """A copy on a peer's GPU: byte 0 of its image is at `base` of the arena, and it is granted by `key`."""

    base: int
    key: int


class Multicast(Base, frozen=True):
    """This node's own part of the plan, in order; `window` writes may be in flight.

    A send of tick t begins no sooner than t − 1 times `tick_s` after the first could.
    Sent from the copy in `tier` into the copies `targets[peer]`. With
    `barrier`, the sends of a tick wait for the controller's `OpenTick` of the same scale-out.
    """

    scale_out: int
    model: str
    tier: Tier
    sends: tuple[Transfer, ...]
    targets: dict[int, Target]
    window: int
    barrier: bool
    tick_s: float = 0.0


class OpenTick(Base, frozen=True):
    """Barrier mode: the sends of `tick` of `scale_out` may start, once this message has taken its time."""

    scale_out: int
    tick: int
    message_s: float = 0.0


class Held(msgspec.Struct, frozen=True):
    """The verified `blocks` of parts [first, stop) of a model; byte 0 of its image at `base` of the tier."""

    model: str
    tier: Tier
    base: int
    first: int
    stop: int
    blocks: tuple[int, ...]


class Arrival(msgspec.Struct, frozen=True):
    """Block `block` came from node `src` (this one: from `origin`), verified at `verified_s`."""

    block: int
    src: int
    origin: str
    arrived_s: float
    verified_s: float


class Coverage(Base, frozen=True):
    """Agent → controller: blocks verified in one copy since the last report (coalesced)."""

    node: int
    model: str
    tier: Tier
    arrivals: tuple[Arrival, ...]


class CorruptBlock(Base, frozen=True):
    """Agent → controller: `block` from `src` failed its checksum; somebody must send it again."""

    node: int
    model: str
    block: int
    src: int


class Resend(Base, frozen=True):
    """Send one block again, as in `Multicast`."""

    model: str
    tier: Tier
    transfer: Transfer
    target: Target
