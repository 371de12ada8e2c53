"""Messages about pipelines and the requests they serve, between the controller and head stages."""

import msgspec

from lambdascale.control.message import Base
from lambdascale.pipeline.stages import Stage
from lambdascale.workload.request import Request


class Form(Base, frozen=True):
    """Become the head stage of an execution pipeline; one stage over all parts is a replica.

    Activations travel under `key`. Each stage hop waits `hop_s` for messages; with `lock_step` each step of
    all stages does.
    """

    pipeline: int
    model: str
    stages: tuple[Stage, ...]
    key: int
    hop_s: float = 0.0
    lock_step: bool = False


class Join(Base, frozen=True):
    """Become another stage of a pipeline: let the stages write activations into the inbox under `key`."""

    pipeline: int
    key: int


class Leave(Base, frozen=True):
    """No activation of `pipeline` is under way any more: end what was granted for it."""

    pipeline: int


class Submit(Base, frozen=True):
    """Serve `request`, continuing after `generated` tokens, on `pipeline` (sent to its head)."""

    pipeline: int
    request: Request
    generated: tuple[int, ...]


class KvPiece(msgspec.Struct, frozen=True):
    """The KV entries of parts [first, stop) that node `node` holds, and writes under `key`."""

    node: int
    first: int
    stop: int
    key: int


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
    """Write `length` KV entries of `slot`, parts [first, stop), to `peer` by `key`; then the slot is free."""

    peer: int
    slot: int
    first: int
    stop: int
    length: int
    key: int


class Cancel(Base, frozen=True):
    """Nobody waits for `request` any more: free its slot at the next step boundary (sent to the head)."""

    pipeline: int
    request: int


class Cancelled(Base, frozen=True):
    """Head → controller: the slot of `request` is free."""

    pipeline: int
    request: int


class Output(msgspec.Struct, frozen=True):
    """Output tokens of `request` from number `position` (from 0) on; `last` if it is finished."""

    request: int
    position: int
    tokens: tuple[int, ...]
    last: bool


class Tokens(Base, frozen=True):
    """Head → controller: what steps that ended at `times` produced, for the clients' streams.

    Each of `outputs` has one token for each of the times.
    """

    pipeline: int
    times: tuple[float, ...]
    outputs: tuple[Output, ...]


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
