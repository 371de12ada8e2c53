"""The rdma transport shows the behaviour of every transport, on one device, on a wire, and on two rails."""

import asyncio

import pytest
from devices import Device
from transport_conformance import CHECKS, Check

from lambdascale.transport.base import Transport
from lambdascale.transport.registry import open_transport


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_rdma_transport_conforms(check: Check, devices: list[Device]) -> None:
    async def opener(node: int, secret: bytes, rate: float) -> Transport:
        return await open_transport("rdma", node, secret, rate, devices[0].address)

    asyncio.run(check(opener))
