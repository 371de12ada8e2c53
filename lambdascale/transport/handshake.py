"""The first bytes on a link: who connects, on which lane, and mutual proof of the cluster secret.

Runs on the event loop over a non-blocking socket, so that a stranger who connects and says nothing
costs no thread. Messages: hello = magic, node, lane, epoch, nonce (both ways); then proofs as in `auth`.
"""

import asyncio
import socket
import struct
from typing import NamedTuple

from lambdascale.errors import AuthError, PeerGoneError
from lambdascale.transport.auth import (
    NONCE_BYTES,
    PROOF_BYTES,
    Role,
    is_proof,
    make_nonce,
    prove,
)
from lambdascale.transport.base import Lane

_HELLO = struct.Struct(f"<8sQBQ{NONCE_BYTES}s")
_MAGIC = b"lscale-2"
_WELCOME = b"\x01"


class Guest(NamedTuple):
    """Who is at the other end of an accepted connection; `epoch` tells processes of one node apart."""

    peer: int
    lane: Lane
    epoch: int


def _pack_hello(node: int, lane: Lane, epoch: int) -> bytes:
    return _HELLO.pack(_MAGIC, node, lane, epoch, make_nonce())


def _unpack_hello(hello: bytes) -> Guest:
    magic, node, lane, epoch, _ = _HELLO.unpack(hello)
    if magic != _MAGIC or lane not in (Lane.BULK, Lane.EXPRESS):
        raise ConnectionError("not a λScale link")
    return Guest(node, Lane(lane), epoch)


async def _recv_exactly(sock: socket.socket, nbytes: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < nbytes:
        more = await loop.sock_recv(sock, nbytes - len(data))
        if not more:
            raise ConnectionError("connection closed during the handshake")
        data += more
    return data


async def introduce(
    sock: socket.socket, secret: bytes, node: int, epoch: int, peer: int, lane: Lane
) -> None:
    """Prove ourselves to `peer` and check its proof: the side that connected.

    Raises AuthError if it does not know `secret`, PeerGoneError if it is another node, OSError.
    """
    loop = asyncio.get_running_loop()
    mine = _pack_hello(node, lane, epoch)
    await loop.sock_sendall(sock, mine)
    theirs = await _recv_exactly(sock, _HELLO.size)
    proof = await _recv_exactly(sock, PROOF_BYTES)
    if not is_proof(secret, Role.SERVER, mine + theirs, proof):
        raise AuthError(
            f"node {peer} does not know this cluster's secret; start both with the same"
        )
    await loop.sock_sendall(sock, prove(secret, Role.CLIENT, mine + theirs))
    await _recv_exactly(sock, len(_WELCOME))
    found = _unpack_hello(theirs).peer
    if found != peer:
        raise PeerGoneError(peer, f"node {found} answers at its address")


async def admit(sock: socket.socket, secret: bytes, node: int, epoch: int) -> Guest:
    """Check the proof of whoever connected: the side that listened. Raises AuthError, OSError."""
    loop = asyncio.get_running_loop()
    theirs = await _recv_exactly(sock, _HELLO.size)
    guest = _unpack_hello(theirs)
    mine = _pack_hello(node, guest.lane, epoch)
    await loop.sock_sendall(sock, mine + prove(secret, Role.SERVER, theirs + mine))
    proof = await _recv_exactly(sock, PROOF_BYTES)
    if not is_proof(secret, Role.CLIENT, theirs + mine, proof):
        raise AuthError(f"a connection as node {guest.peer} does not know this cluster's secret")
    await loop.sock_sendall(sock, _WELCOME)
    return guest
