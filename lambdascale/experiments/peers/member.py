"""One process of a contestant: what every program here does beside moving bytes. Standard library only.

A program is told its task and then, round by round, what to do, in lines of JSON. Before a round the source
stamps its image, so that nobody can pass with the bytes of the round before; after it every member says what
the bytes that it holds hash to. Neither is timed.
"""

import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

SOURCE = 0
STAMP_EVERY = 1 << 20  # bytes
STAMP_BYTES = 8
SEED = 0


@dataclass(frozen=True, slots=True)
class Task:
    """Who this member is, where the members are, and how large the image is.

    `algorithm`, `num_blocks` and `rates` (bytes/s of each link) say how to plan, `window` is the writes in
    flight per node; others ignore them.
    """

    node: int
    addresses: tuple[str, ...]
    nbytes: int
    algorithm: str = ""
    num_blocks: int = 0
    window: int = 2
    rates: tuple[float, ...] = ()

    @property
    def num_nodes(self) -> int:
        return len(self.addresses)

    @property
    def address(self) -> str:
        return self.addresses[self.node]


class Exchange:
    """Tell every member something and learn what each of them says, by way of the parent."""

    def __init__(self, orders: TextIO, answers: TextIO) -> None:
        self._orders = orders
        self._answers = answers

    def __call__(self, mine: object) -> list[Any]:
        self.say({"share": mine})
        return list(self.hear()["shared"])

    def say(self, message: object) -> None:
        self._answers.write(json.dumps(message) + "\n")
        self._answers.flush()

    def hear(self) -> dict[str, Any]:
        """Return the next order; `stop` when the parent has gone."""
        line = self._orders.readline()
        return dict(json.loads(line)) if line else {"order": "stop"}


class Contestant(Protocol):
    """One node's part. After `run` returned everywhere, every node holds the image of the source."""

    def prepare(self, round_number: int) -> None:
        """Get ready for a round; at the source, stamp the image with its number."""

    def run(self) -> None:
        """Take part in one multicast; return when this node has the image and owes nobody anything."""

    def digest(self) -> str:
        """Return the hash of what this node holds."""

    def close(self) -> None: ...


def new_image(nbytes: int) -> bytearray:
    """Return random bytes, the same in every process."""
    return bytearray(random.Random(SEED).randbytes(nbytes))


def stamp(image: memoryview, round_number: int) -> None:
    """Make every MiB of the image differ from what it was in other rounds."""
    mark = round_number.to_bytes(STAMP_BYTES, "little")
    for start in range(0, image.nbytes - STAMP_BYTES + 1, STAMP_EVERY):
        image[start : start + STAMP_BYTES] = mark


def digest_of(image: memoryview) -> str:
    """Return the hash that members compare."""
    return hashlib.sha256(image).hexdigest()


def serve(enter: Callable[[Task, Exchange], Contestant]) -> None:
    """Be one member until the parent says stop or is gone."""
    exchange = Exchange(sys.stdin, os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # libraries may print
    contestant = enter(_task(exchange.hear()), exchange)
    try:
        exchange("entered")
        while (order := exchange.hear())["order"] != "stop":
            exchange.say(_round(contestant, exchange, order["round"]))
    finally:
        contestant.close()


def _task(message: dict[str, Any]) -> Task:
    stated = message["task"]
    return Task(**stated | {name: tuple(stated[name]) for name in ("addresses", "rates")})


def _round(contestant: Contestant, exchange: Exchange, number: int) -> dict[str, object]:
    contestant.prepare(number)
    exchange("prepared")
    began = time.monotonic()
    contestant.run()
    ended = time.monotonic()
    exchange("done")
    return {"began": began, "ended": ended, "digest": contestant.digest()}
