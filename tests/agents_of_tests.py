"""Entry functions of agents that do as little as a test needs; run by the nursery of a local fleet."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from lambdascale.control.streams import StreamControl
from lambdascale.fleet.local import parse_assignment


def stay(argument: str) -> None:
    """Connect to the controller, say who one is, and stay whatever happens."""
    agent, secret = parse_assignment(argument)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def connected() -> None:
        await StreamControl(secret).connect(agent.controller, agent.node)
        await asyncio.sleep(3600)

    asyncio.run(connected())


def die_at_birth(_: str) -> None:
    """End at once, as if it had crashed."""
    os._exit(3)


def outlive(_: str) -> None:
    """Neither connect nor end."""
    time.sleep(3600)


def look_around(argument: str) -> None:
    """Say on the standard error what is visible to an agent, for the test to read."""
    agent, _ = parse_assignment(argument)
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - one call
    print(f"node {agent.node}: {threads} thread, {sys.stdin.read()!r} to read", file=sys.stderr)


def show_descriptors(argument: str) -> None:
    """Node 0 stays; another says what it has open besides the standard streams, and that it has them."""
    agent, _ = parse_assignment(argument)
    if agent.node == 0:
        time.sleep(3600)
    links = {fd: str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in range(64) if is_open(fd)}
    print(f"node {agent.node}: {links.pop(0)}, {links.pop(1) == links.pop(2)}, {links}")


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
