"""A link whose wire is cut: both ends notice by themselves, though nobody closed it."""

import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from lambdascale.provision.namespaces import Namespaces, missing
from lambdascale.transport.over_tcp import SILENCE_SECONDS

pytestmark = pytest.mark.alone

SLACK_S = 2.0
RECEIVER = """
import asyncio, sys
from lambdascale.transport.base import PeerLost
from lambdascale.transport.registry import open_transport
async def main(host):
    node = await open_transport("tcp", 1, b"a secret", host=host)
    await node.register(0, 8)
    node.grant(0, 0, [(0, 8)])
    print(node.address, flush=True)
    print((await node.receive()).tag, flush=True)
    print(isinstance(await node.receive(), PeerLost), flush=True)
    await node.close()
asyncio.run(main(sys.argv[1]))
"""
SENDER = """
import asyncio, sys
from lambdascale.errors import PeerGoneError
from lambdascale.transport.base import Lane
from lambdascale.transport.registry import open_transport
async def main(host, address):
    node = await open_transport("tcp", 0, b"a secret", host=host)
    source = await node.register(0, 8)
    out = await node.connect(1, address, Lane.BULK)
    await out.write(source, 0, 8, 0, 0, 7)
    await asyncio.to_thread(sys.stdin.readline)
    try:
        await asyncio.wait_for(out.write(source, 0, 8, 0, 0, 8), 0.5)
    except PeerGoneError as error:
        print(error, flush=True)
    await node.close()
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.skipif(bool(missing()), reason=missing() or "never")
@pytest.mark.parametrize("pause_s", [0.0, 0.5], ids=["answers under way", "idle"])
def test_both_ends_of_a_link_notice_a_cut_wire(pause_s: float):
    with Namespaces(2, 1e8) as made, ExitStack() as stack:
        a, b = made.hosts
        receiver = start(stack, b.command(sys.executable, "-c", RECEIVER, b.address))
        address = line_of(receiver)
        sender = start(stack, a.command(sys.executable, "-c", SENDER, a.address, address))
        assert line_of(receiver) == "7"
        time.sleep(pause_s)
        subprocess.run(["ip", "-n", a.name, "link", "set", "eth0", "down"], check=True)
        began = time.monotonic()
        assert line_of(receiver) == "True"
        assert time.monotonic() - began < SILENCE_SECONDS + SLACK_S
        time.sleep(max(0.0, began + SILENCE_SECONDS + SLACK_S - time.monotonic()))
        said, _ = sender.communicate("write\n", timeout=10)
        assert "node 1 is gone" in said


def start(stack: ExitStack, argv: list[str]) -> subprocess.Popen[str]:
    """A process that is gone when the test is over."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
