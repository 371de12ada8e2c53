"""Every message of the control plane, as typed values, and their one codec (msgpack; never pickle).

The controller is never on the data path: no message here carries a block, an activation or a token
that another agent waits for. Times are seconds on the sender's clock.
"""

import msgspec

from lambdascale.engine.base import EngineLimits
from lambdascale.model.image import ImageSource
from lambdascale.multicast.schedule import Transfer
from lambdascale.pipeline.stages import Stage
from lambdascale.storage.tiers import Tier
from lambdascale.workload.request import Request


class Base(msgspec.Struct, frozen=True, tag=True):
    """The root of all messages; the class name travels as the tag."""


class Hello(Base, frozen=True):
    """Agent → controller: I am up; peers reach my transport at `address`."""

    node: int
    address: str


class Hosted(msgspec.Struct, frozen=True):
    """A model that may be served here: its name, its image, and what a node of it allocates for."""

    model: str
    image: ImageSource
    limits: EngineLimits


class Prepare(Base, frozen=True):
    """Allocate and register the arenas, and build every model's engine, before any byte arrives.

    `max_lanes` bounds the micro-batches in flight of any pipeline this node will belong to.
    """

    models: tuple[Hosted, ...]
    gpu_nbytes: int
    host_nbytes: int
    max_lanes: int


class Prepared(Base, frozen=True):
    """Agent → controller: regions and engines are ready."""

    node: int


class Connect(Base, frozen=True):
    """Learn peers' addresses and open these links; `token` comes back in the answer."""

    token: int
    addresses: dict[int, str]
    bulk: tuple[int, ...]
    express: tuple[int, ...]


class Connected(Base, frozen=True):
    """Agent → controller: the links of `Connect` are open."""

    node: int
    token: int


class Hold(Base, frozen=True):
    """There is to be a copy of `model` in `tier`; byte 0 of its image is at `base` of that arena.

    Of the image only bytes of parts [first, stop) will come, if the model spans several nodes.
    """

    model: str
    tier: Tier
    base: int
    first: int
    stop: int


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


class Multicast(Base, frozen=True):
    """This node's own part of the plan, in order; `window` writes may be in flight.

    Sent from the copy in `tier` into the GPU arenas of peers, whose image begins at `bases[peer]`. With
    `barrier`, the sends of a tick wait for the controller's `OpenTick` of the same scale-out.
    """

    scale_out: int
    model: str
    tier: Tier
    sends: tuple[Transfer, ...]
    bases: dict[int, int]
    window: int
    barrier: bool


class OpenTick(Base, frozen=True):
    """Barrier mode: the sends of `tick` of `scale_out` may start."""

    scale_out: int
    tick: int


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
    base: int


class Form(Base, frozen=True):
    """Become the head stage of an execution pipeline; one stage over all parts is a replica."""

    pipeline: int
    model: str
    stages: tuple[Stage, ...]
    capacity: int


class Submit(Base, frozen=True):
    """Serve `request`, continuing after `generated` tokens, on `pipeline` (sent to its head)."""

    pipeline: int
    request: Request
    generated: tuple[int, ...]


class KvPiece(msgspec.Struct, frozen=True):
    """The KV entries of parts [first, stop) that node `node` holds."""

    node: int
    first: int
    stop: int


class Adopt(Base, frozen=True):
    """Go on with `request` in `slot`, where it ran before; `length` tokens have KV entries.

    `pieces` are written into this node's KV region by their owners; the rest is here already.
    """

    pipeline: int
    request: Request
    generated: tuple[int, ...]
    slot: int
    length: int
    pieces: tuple[KvPiece, ...]


class SendKv(Base, frozen=True):
    """Write the first `length` KV entries of `slot`, parts [first, stop), to `peer`; then it is free."""

    peer: int
    slot: int
    first: int
    stop: int
    length: int


class Cancel(Base, frozen=True):
    """Nobody waits for `request` any more: free its slot at the next step boundary (sent to the head)."""

    pipeline: int
    request: int


class Cancelled(Base, frozen=True):
    """Head → controller: the slot of `request` is free."""

    pipeline: int
    request: int


class Token(msgspec.Struct, frozen=True):
    """Output token number `position` (from 0) of `request`; `last` if the request is finished."""

    request: int
    position: int
    token: int
    last: bool


class Tokens(Base, frozen=True):
    """Head → controller: what one step produced, for the clients' streams."""

    pipeline: int
    time_s: float
    tokens: tuple[Token, ...]


class Dissolve(Base, frozen=True):
    """Stop `pipeline` at the next step boundary (sent to its head)."""

    pipeline: int


class Seated(msgspec.Struct, frozen=True):
    """An unfinished request: its KV slot and how many of its tokens have entries there."""

    request: int
    slot: int
    length: int


class Dissolved(Base, frozen=True):
    """Head → controller: no step of `pipeline` is in flight any more; `unfinished` must move."""

    pipeline: int
    unfinished: tuple[Seated, ...]


class Stop(Base, frozen=True):
    """Finish: close everything and leave."""


class Report(Base, frozen=True):
    """Agent → controller, in answer to Stop: steps run, and how many exceeded the device floor."""

    node: int
    steps: int
    overruns: int


class Failed(Base, frozen=True):
    """Agent → controller: this agent cannot go on; `kind` is the error's class name."""

    node: int
    kind: str
    reason: str


Message = (
    Hello
    | Prepare
    | Prepared
    | Connect
    | Connected
    | Hold
    | Drop
    | Serve
    | Load
    | Multicast
    | OpenTick
    | Coverage
    | CorruptBlock
    | Resend
    | Form
    | Submit
    | Adopt
    | SendKv
    | Cancel
    | Cancelled
    | Tokens
    | Dissolve
    | Dissolved
    | Stop
    | Report
    | Failed
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the wire form of `message`."""
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Return the message in `data`; raises msgspec.ValidationError if it is not one."""
    return _decoder.decode(data)
