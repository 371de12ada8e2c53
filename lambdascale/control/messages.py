"""Every message of the control plane, as typed values, and their one codec (msgpack; never pickle).

The controller is never on the data path: no message here carries a block, an activation or a token
that another agent waits for. Times are seconds on the sender's clock.
"""

import msgspec

from lambdascale.engine.base import EngineLimits
from lambdascale.model.layout import ImageLayout
from lambdascale.multicast.schedule import Transfer
from lambdascale.pipeline.stages import Stage
from lambdascale.workload.request import Request


class Base(msgspec.Struct, frozen=True, tag=True):
    """The root of all messages; the class name travels as the tag."""


class Hello(Base, frozen=True):
    """Agent → controller: I am up; peers reach my transport at `address`."""

    node: int
    address: str


class Prepare(Base, frozen=True):
    """Allocate and register everything for a model before any byte of it arrives.

    `load` says that this node is a source and reads the image from storage. `max_lanes` bounds the
    micro-batches in flight of any pipeline this node will belong to.
    """

    image: str
    config: str
    layout: ImageLayout
    checksums: tuple[int, ...]
    limits: EngineLimits
    max_lanes: int
    load: bool


class Prepared(Base, frozen=True):
    """Agent → controller: regions, engine and (on a source) weights are ready."""

    node: int


class Connect(Base, frozen=True):
    """Learn all peers' addresses and open the links that will be needed."""

    addresses: dict[int, str]
    bulk: tuple[int, ...]
    express: tuple[int, ...]


class Connected(Base, frozen=True):
    """Agent → controller: the links of `Connect` are open."""

    node: int


class Multicast(Base, frozen=True):
    """This node's own part of the plan, in order; `window` writes may be in flight.

    With `barrier`, the sends of a tick wait for the controller's `OpenTick`.
    """

    sends: tuple[Transfer, ...]
    window: int
    barrier: bool


class OpenTick(Base, frozen=True):
    """Barrier mode: the sends of `tick` may start."""

    tick: int


class Arrival(msgspec.Struct, frozen=True):
    """Block `block` came from `src`, was complete at `arrived_s` and verified at `verified_s`."""

    block: int
    src: int
    arrived_s: float
    verified_s: float


class Coverage(Base, frozen=True):
    """Agent → controller: blocks verified since the last report (coalesced)."""

    node: int
    arrivals: tuple[Arrival, ...]


class CorruptBlock(Base, frozen=True):
    """Agent → controller: `block` from `src` failed its checksum and is being fetched again."""

    node: int
    block: int
    src: int


class Form(Base, frozen=True):
    """Become the head stage of an execution pipeline; one stage over all parts is a replica."""

    pipeline: int
    stages: tuple[Stage, ...]
    capacity: int


class Submit(Base, frozen=True):
    """Serve `request`, continuing after `generated` tokens, on `pipeline` (sent to its head)."""

    pipeline: int
    request: Request
    generated: tuple[int, ...]


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


class Dissolved(Base, frozen=True):
    """Head → controller: no step of `pipeline` is in flight any more; `unfinished` must move."""

    pipeline: int
    unfinished: tuple[int, ...]


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
    | Multicast
    | OpenTick
    | Coverage
    | CorruptBlock
    | Form
    | Submit
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
