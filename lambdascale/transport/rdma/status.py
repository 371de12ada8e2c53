"""Completions in words: what became of a request, and which node order its number is in."""

import socket
from typing import Any

from lambdascale.transport.rdma.verbs import e

_REASONS = {
    e.IBV_WC_RETRY_EXC_ERR: "no answer, however often it was tried",
    e.IBV_WC_RNR_RETRY_EXC_ERR: "the peer had no receive posted",
    e.IBV_WC_REM_ACCESS_ERR: "the peer grants no access to that memory",
    e.IBV_WC_REM_INV_REQ_ERR: "the peer calls the request invalid",
    e.IBV_WC_REM_OP_ERR: "the peer could not carry it out",
    e.IBV_WC_LOC_PROT_ERR: "the memory is not registered here",
    e.IBV_WC_WR_FLUSH_ERR: "the queue pair was closed",
}


def failure(completion: Any) -> str:
    """Return why a request failed; empty if it did not."""
    status = completion.status
    if status == e.IBV_WC_SUCCESS:
        return ""
    return _REASONS.get(status, f"verbs status {status}")


def immediate(completion: Any) -> int:
    """Return the number that came with a notification; verbs leaves it in network order."""
    return socket.ntohl(completion.imm_data)
