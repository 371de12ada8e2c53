"""A peer in a process of its own, for tests: prints its address, then writes or swallows for ever.

python transport_child.py NAME receive                 register region 0 and wait
python transport_child.py NAME send ADDRESS NBYTES     write region 0 to node 0 again and again
"""

import asyncio
import sys

from transport_conformance import SECRET, filled, room

from lambdascale.transport.base import Lane, Transport
from lambdascale.transport.registry import open_transport

CHILD = 1
REGION_BYTES = 32 << 20


async def receive(node: Transport) -> None:
    await room(node, 0, REGION_BYTES)
    print(node.address, flush=True)
    while True:
        await node.receive()


async def send(node: Transport, address: str, nbytes: int) -> None:
    source = await filled(node, 0, nbytes)
    out = await node.connect(0, address, Lane.BULK)
    print(await source.checksum(0, nbytes), flush=True)
    while True:
        await out.write(source, 0, nbytes, 0, 0, 1)


async def main(name: str, action: str, *arguments: str) -> None:
    node = await open_transport(name, CHILD, SECRET)
    if action == "receive":
        await receive(node)
    else:
        await send(node, arguments[0], int(arguments[1]))


asyncio.run(main(*sys.argv[1:]))
