"""Every message of the control plane, as typed values, and their one codec (msgpack; never pickle).

The controller is never on the data path: no message here carries a block, an activation or a token
that another agent waits for. Times are seconds on the sender's clock. Defined here: coming up and ending.
"""

import msgspec

from lambdascale.control.copy_messages import (
    Arrival,
    CorruptBlock,
    Coverage,
    Drop,
    Held,
    Hold,
    Load,
    Multicast,
    OpenTick,
    Rekey,
    Resend,
    Serve,
    Target,
)
from lambdascale.control.loss_messages import Delivered, LossNoted, NodeLost, Unreachable
from lambdascale.control.message import Base
from lambdascale.control.request_messages import (
    Adopt,
    Cancel,
    Cancelled,
    Dissolve,
    Dissolved,
    Form,
    Join,
    KvPiece,
    Leave,
    Output,
    Seated,
    SendKv,
    Submit,
    Tokens,
)
from lambdascale.engine.base import EngineLimits
from lambdascale.model.image import ImageSource

__all__ = [
    "Address",
    "Adopt",
    "Arrival",
    "Base",
    "Cancel",
    "Cancelled",
    "Connect",
    "Connected",
    "CorruptBlock",
    "Coverage",
    "Delivered",
    "Dissolve",
    "Dissolved",
    "Drop",
    "Failed",
    "Form",
    "Held",
    "Hello",
    "Hold",
    "Hosted",
    "Join",
    "KvPiece",
    "Leave",
    "Load",
    "LossNoted",
    "Message",
    "Multicast",
    "NodeLost",
    "OpenTick",
    "Output",
    "Ping",
    "Pong",
    "Prepare",
    "Prepared",
    "Rekey",
    "Report",
    "Resend",
    "Seated",
    "SendKv",
    "Serve",
    "Stop",
    "Submit",
    "Target",
    "Tokens",
    "Unreachable",
    "decode",
    "encode",
]


class Address(msgspec.Struct, frozen=True):
    """How peers reach a node: where its transport listens, and keys that warm links up.

    Under `bulk` and `express` nothing may be written into the arena and the inbox, but they are known then.
    """

    place: str
    bulk: int
    express: int


class Hello(Base, frozen=True):
    """Agent → controller: I am up, and nothing is under way here; peers reach me at `address`.

    Without a controller I keep what I hold for `lease_s`.
    """

    node: int
    address: Address
    lease_s: float = 0.0


class Hosted(msgspec.Struct, frozen=True):
    """A model that may be served here: its name, its image, and what a node of it allocates for."""

    model: str
    image: ImageSource
    limits: EngineLimits


class Prepare(Base, frozen=True):
    """Allocate and register the arenas, and build every model's engine, before any byte arrives.

    `max_lanes` bounds the micro-batches in flight of any pipeline this node will belong to. Arrivals of
    blocks are reported after `report_s`, together.
    """

    models: tuple[Hosted, ...]
    gpu_nbytes: int
    host_nbytes: int
    max_lanes: int
    report_s: float


class Prepared(Base, frozen=True):
    """Agent → controller: regions and engines are ready; `held` is what earlier controllers had me load."""

    node: int
    held: tuple[Held, ...] = ()

    @property
    def num_blocks(self) -> int:
        """How many verified blocks there are, in all tiers."""
        return sum(len(held.blocks) for held in self.held)


class Connect(Base, frozen=True):
    """Learn peers' addresses and open these links; `token` comes back in the answer."""

    token: int
    addresses: dict[int, Address]
    bulk: tuple[int, ...]
    express: tuple[int, ...]


class Connected(Base, frozen=True):
    """Agent → controller: the links of `Connect` are open."""

    node: int
    token: int


class Ping(Base, frozen=True):
    """Are you there? Answered at once."""


class Pong(Base, frozen=True):
    """Agent → controller, in answer to Ping."""

    node: int


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
    | Rekey
    | Drop
    | Serve
    | Load
    | Multicast
    | OpenTick
    | Coverage
    | CorruptBlock
    | Resend
    | Form
    | Join
    | Leave
    | Submit
    | Adopt
    | SendKv
    | Cancel
    | Cancelled
    | Tokens
    | Dissolve
    | Dissolved
    | Ping
    | Pong
    | Stop
    | Report
    | Failed
    | NodeLost
    | LossNoted
    | Unreachable
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the wire form of `message`."""
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Return the message in `data`; raises msgspec.ValidationError if it is not one."""
    return _decoder.decode(data)
