"""Mutual proof that two ends know one cluster secret, without sending it.

HMAC-SHA256 over everything both ends said first, a fresh nonce from each included, and over the role of
the prover, so that a proof can be neither replayed nor reflected:

    client → server   client hello (with nonce)
    server → client   server hello (with nonce), proof(secret, SERVER, client hello + server hello)
    client → server   proof(secret, CLIENT, client hello + server hello)

Bytes in, bytes out: blocking sockets and asyncio streams use the same functions. Nothing is encrypted.
"""

import hashlib
import hmac
import secrets
from enum import Enum

from lambdascale.errors import ConfigError

SECRET_BYTES = 32
NONCE_BYTES = 32
PROOF_BYTES = 32


class Role(Enum):
    """Which end proves: the one that connected, or the one that listened."""

    CLIENT = b"client"
    SERVER = b"server"


def make_secret() -> bytes:
    """Return a fresh secret for a cluster that lives as long as a run."""
    return secrets.token_bytes(SECRET_BYTES)


def make_nonce() -> bytes:
    """Return NONCE_BYTES of fresh randomness from the operating system."""
    return secrets.token_bytes(NONCE_BYTES)


def prove(secret: bytes, role: Role, transcript: bytes) -> bytes:
    """Return the proof (PROOF_BYTES) that `role` knows `secret`, bound to both hellos.

    >>> prove(b"s", Role.CLIENT, b"hello") == prove(b"s", Role.SERVER, b"hello")
    False
    """
    return hmac.digest(check_secret(secret), role.value + b"\0" + transcript, hashlib.sha256)


def is_proof(secret: bytes, role: Role, transcript: bytes, proof: bytes) -> bool:
    """Tell in constant time whether `proof` is what a `role` that knows `secret` would send."""
    return hmac.compare_digest(prove(secret, role, transcript), proof)


def check_secret(secret: bytes) -> bytes:
    """Return `secret`; raise ConfigError if it is empty."""
    if not secret:
        raise ConfigError("the cluster secret is empty; give every node the same random bytes")
    return secret
