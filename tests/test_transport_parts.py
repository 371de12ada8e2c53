"""The parts of the transports that are values: proofs, frames, pacing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdascale.errors import ConfigError
from lambdascale.transport.auth import PROOF_BYTES, Role, is_proof, make_nonce, prove
from lambdascale.transport.base import Lane
from lambdascale.transport.pacing import Port
from lambdascale.transport.wire import (
    FRAME_BYTES,
    REPLY_BYTES,
    Frame,
    Kind,
    Reply,
    Status,
    check_range,
)

pytestmark = pytest.mark.alone

U64 = st.integers(0, 2**64 - 1)


def test_a_proof_holds_for_one_secret_role_and_transcript_only() -> None:
    proof = prove(b"secret", Role.CLIENT, b"both hellos")
    assert len(proof) == PROOF_BYTES
    assert is_proof(b"secret", Role.CLIENT, b"both hellos", proof)
    assert not is_proof(b"Secret", Role.CLIENT, b"both hellos", proof)
    assert not is_proof(b"secret", Role.SERVER, b"both hellos", proof)
    assert not is_proof(b"secret", Role.CLIENT, b"other hellos", proof)
    assert not is_proof(b"secret", Role.CLIENT, b"both hellos", proof[:-1])


def test_nonces_differ() -> None:
    assert len({make_nonce() for _ in range(100)}) == 100


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ConfigError, match="secret is empty"):
        prove(b"", Role.CLIENT, b"")


@given(st.sampled_from(Kind), st.integers(0, 2**32 - 1), U64, U64, U64, U64)
def test_a_frame_survives_the_wire(
    kind: Kind, tag: int, seq: int, region: int, offset: int, nbytes: int
) -> None:
    frame = Frame(kind, tag, seq, region, offset, nbytes)
    assert len(frame.pack()) == FRAME_BYTES
    assert Frame.unpack(frame.pack()) == frame


@given(st.sampled_from(Status), U64, U64)
def test_a_reply_survives_the_wire(status: Status, seq: int, nbytes: int) -> None:
    reply = Reply(status, seq, nbytes)
    assert len(reply.pack()) == REPLY_BYTES
    assert Reply.unpack(reply.pack()) == reply


def test_garbage_on_the_wire_is_a_connection_error() -> None:
    with pytest.raises(ConnectionError):
        Frame.unpack(b"\xff" * FRAME_BYTES)
    with pytest.raises(ConnectionError):
        Reply.unpack(b"\xff" * REPLY_BYTES)


@given(st.integers(-5, 20), st.integers(-5, 20), st.integers(0, 10))
def test_a_range_is_accepted_exactly_if_every_byte_exists(
    offset: int, nbytes: int, size: int
) -> None:
    inside = offset >= 0 and nbytes >= 0 and offset + nbytes <= size
    try:
        check_range("it", offset, nbytes, size)
    except ConfigError:
        assert not inside
    else:
        assert inside


def test_an_idle_port_delays_by_the_transfer_alone() -> None:
    port = Port(100.0)
    assert port.leave(10.0, 50, Lane.BULK) == 10.5
    assert port.leave(10.0, 50, Lane.BULK) == 11.0
    assert port.leave(10.0, 10, Lane.EXPRESS) == pytest.approx(10.1)
    assert port.leave(10.0, 40, Lane.BULK) == pytest.approx(11.5)
    assert Port(100.0).arrive(10.0, 50, Lane.BULK) == 10.0


def test_two_senders_share_an_ingress_port() -> None:
    port = Port(100.0)
    shown = [port.arrive(10.0 + i // 2, 100, Lane.BULK) for i in range(6)]
    assert shown == [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]


def test_an_infinite_rate_delays_nothing_and_a_rate_is_positive() -> None:
    assert Port(math.inf).leave(3.0, 1 << 40, Lane.BULK) == 3.0
    with pytest.raises(ConfigError, match="rate"):
        Port(0.0)
