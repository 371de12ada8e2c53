"""Control over authenticated asyncio streams: msgpack frames, length first, both ends proving the secret."""

import asyncio
import contextlib
import socket
import struct

import msgspec

from lambdascale.clock import deadline
from lambdascale.control.base import CONTROLLER, Channel, Listener
from lambdascale.control.messages import Message, decode, encode
from lambdascale.errors import AuthError, DeadlineError, PeerGoneError
from lambdascale.transport import auth
from lambdascale.transport.base import LOOPBACK

MAX_FRAME = 64 << 20  # bytes; a layout of a few thousand tensors is well under 1 MiB
HANDSHAKE_S = 10.0
_LENGTH = struct.Struct("<I")
_HELLO = struct.Struct(f"<8si{auth.NONCE_BYTES}s")
_MAGIC = b"lscale-c"
_WELCOME = b"\x01"


class StreamChannel:
    """A `Channel` over one TCP connection; created by `StreamControl` after the handshake."""

    def __init__(
        self, peer: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.peer = peer
        self._reader = reader
        self._writer = writer

    def send(self, message: Message) -> None:
        if self._writer.is_closing():
            raise PeerGoneError(self.peer)
        data = encode(message)
        self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Message:
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > MAX_FRAME:
                raise PeerGoneError(self.peer, f"sent a frame of {length} bytes")
            return decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError) as error:
            raise PeerGoneError(self.peer) from error
        except msgspec.DecodeError as error:
            raise PeerGoneError(self.peer, f"it sent what is no message: {error}") from error

    async def close(self) -> None:
        await _hang_up(self._writer)


class StreamListener:
    """Accepts channels; strangers that fail the handshake are dropped and never reach `accept`."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._channels: asyncio.Queue[StreamChannel] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self.address = ""

    async def open(self, place: str | socket.socket) -> None:
        if isinstance(place, str):
            self._server = await asyncio.start_server(self._greet, place, 0)
        else:
            self._server = await asyncio.start_server(self._greet, sock=place)
        name = self._server.sockets[0].getsockname()
        self.address = f"{name[0]}:{name[1]}"

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with deadline(HANDSHAKE_S, "the handshake of an agent"):
                node = await _welcome(reader, writer, self._secret)
        except (AuthError, DeadlineError, asyncio.IncompleteReadError, OSError):
            await _hang_up(writer)
            return
        if self._server is None:  # closed meanwhile
            await _hang_up(writer)
            return
        self._channels.put_nowait(StreamChannel(node, reader, writer))

    async def accept(self) -> Channel:
        return await self._channels.get()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        while not self._channels.empty():
            await self._channels.get_nowait().close()


class StreamControl:
    """The `Control` of real runs; `secret` is the cluster's.

    It listens at any free port of a host, or on a socket that is bound already, and closes that.
    """

    def __init__(self, secret: bytes, place: str | socket.socket = LOOPBACK) -> None:
        self._secret = secret
        self._place = place

    async def listen(self) -> Listener:
        listener = StreamListener(self._secret)
        await listener.open(self._place)
        return listener

    async def connect(self, address: str, node: int) -> Channel:
        host, _, port = address.rpartition(":")
        try:
            async with deadline(HANDSHAKE_S, f"the handshake with the controller at {address}"):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    await _introduce(reader, writer, self._secret, node)
                except BaseException:
                    await _hang_up(writer)
                    raise
        except OSError as error:
            raise PeerGoneError(CONTROLLER, f"nobody answers at {address}") from error
        except asyncio.IncompleteReadError as error:
            raise PeerGoneError(CONTROLLER, f"it hung up at {address}") from error
        return StreamChannel(CONTROLLER, reader, writer)


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):  # the peer may have closed first
        await writer.wait_closed()


async def _welcome(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes
) -> int:
    """The listening side: exchange hellos, prove ourselves, check the proof; return the agent's node."""
    theirs = await reader.readexactly(_HELLO.size)
    ours = _HELLO.pack(_MAGIC, CONTROLLER, auth.make_nonce())
    writer.write(ours + auth.prove(secret, auth.Role.SERVER, theirs + ours))
    proof = await reader.readexactly(auth.PROOF_BYTES)
    magic, node, _ = _HELLO.unpack(theirs)
    if magic != _MAGIC or not auth.is_proof(secret, auth.Role.CLIENT, theirs + ours, proof):
        raise AuthError(f"a connection as agent {node} does not know this cluster's secret")
    writer.write(_WELCOME)
    return int(node)


async def _introduce(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes, node: int
) -> None:
    """The connecting side of `_welcome`."""
    ours = _HELLO.pack(_MAGIC, node, auth.make_nonce())
    writer.write(ours)
    theirs = await reader.readexactly(_HELLO.size)
    proof = await reader.readexactly(auth.PROOF_BYTES)
    if not auth.is_proof(secret, auth.Role.SERVER, ours + theirs, proof):
        raise AuthError("the controller does not know this cluster's secret; give both the same")
    writer.write(auth.prove(secret, auth.Role.CLIENT, ours + theirs))
    try:
        await reader.readexactly(len(_WELCOME))
    except asyncio.IncompleteReadError as error:
        raise AuthError("the controller refused our secret; give both the same") from error
