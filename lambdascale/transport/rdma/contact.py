"""What the two ends of a link tell each other over their authenticated TCP connection.

    leader → follower   Contact, then Ask(key) at the first write under a key
    follower → leader   Contact, then Answer(key, …), the only way an rkey travels
    when a grant ends:  Answer(key) without rkeys, then Ask(key, released=True): nothing more comes under it

The connection lives as long as the link: its end is how a death is noticed.
"""

import asyncio
import socket
import struct
from typing import TypeVar

import msgspec

_LENGTH = struct.Struct("<H")


class PairContact(msgspec.Struct, frozen=True):
    """How to reach one queue pair: number, first packet, address, MTU code, and its mailbox."""

    number: int
    psn: int
    lid: int
    gid: str
    mtu: int
    mailbox: int
    rkey: int


class Contact(msgspec.Struct, frozen=True):
    """One queue pair per rail, in the order of rails."""

    pairs: tuple[PairContact, ...]


class Ask(msgspec.Struct, frozen=True):
    """The leader wants to write under a key, or has let go of it."""

    key: int
    released: bool = False


class Answer(msgspec.Struct, frozen=True):
    """It may write bytes [low, low + nbytes) of a region that begins at `address`; no rkeys: nothing."""

    key: int
    low: int = 0
    nbytes: int = 0
    address: int = 0
    rkeys: tuple[int, ...] = ()


M = TypeVar("M", Contact, Ask, Answer)


class Talk:
    """Messages over the connection of a link; both `hear` and `say` may raise OSError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> "Talk":
        """Take over a connected socket."""
        return cls(*await asyncio.open_connection(sock=sock))

    def say(self, message: Contact | Ask | Answer) -> None:
        """Send a message; what cannot be sent is noticed by whoever hears."""
        data = msgspec.msgpack.encode(message)
        self._writer.write(_LENGTH.pack(len(data)) + data)

    async def hear(self, kind: type[M]) -> M:
        """Return the next message, which must be of `kind`; ConnectionError when the peer is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return msgspec.msgpack.decode(await self._reader.readexactly(length), type=kind)
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("connection closed") from error
        except msgspec.DecodeError as error:
            raise ConnectionError(f"the peer does not speak this protocol: {error}") from error

    def abort(self) -> None:
        """End the connection at once. Idempotent."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """End the connection at once, and wait for that. Idempotent."""
        self.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # it had ended before
