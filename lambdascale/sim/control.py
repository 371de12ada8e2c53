"""The simulated `Control`: channels within one process, with latency, lost connections and partitions.

Messages go through the same codec as real ones, so both clocks carry the same values. As on a real
connection, what a peer sent before it died still arrives, then the end of the stream.
"""

import asyncio
from itertools import count

from lambdascale.control.base import CONTROLLER, Channel, Listener
from lambdascale.control.messages import Message
from lambdascale.errors import ConfigError, PeerGoneError
from lambdascale.sim.codec import Codec


class SimControl:
    """The control plane of one simulated cluster; also the handle by which tests do harm."""

    def __init__(self, latency_s: float = 0.0) -> None:
        if latency_s < 0:
            raise ConfigError(f"latency_s is {latency_s}; it must be at least 0")
        self.latency_s = latency_s
        self.codec = Codec()
        self._listeners: dict[str, SimListener] = {}
        self._agents: dict[SimChannel, int] = {}
        self._apart: frozenset[int] = frozenset()
        self._held: list[tuple[SimChannel, bytes | None]] = []

    async def listen(self) -> Listener:
        """Listen at the first address where nobody does: where the last one did that has closed."""
        address = next(a for n in count(1) if (a := f"sim-control:{n}") not in self._listeners)
        self._listeners[address] = SimListener(address, self._listeners)
        return self._listeners[address]

    async def connect(self, address: str, node: int) -> Channel:
        await asyncio.sleep(2 * self.latency_s)
        if address not in self._listeners or self.is_cut(node):
            raise PeerGoneError(CONTROLLER, f"nobody answers at {address}")
        agent, controller = SimChannel(self, CONTROLLER, node), SimChannel(self, node, node)
        agent.other, controller.other = controller, agent
        self._agents[agent] = node
        self._listeners[address].greet(controller)
        return agent

    def kill(self, node: int) -> None:
        """End the connections of agent `node` from its side; it is dead and notices nothing itself."""
        for channel in self._of(node):
            channel.die()

    def sever(self, node: int) -> None:
        """Lose the connections of agent `node`; both ends notice, messages on the way are lost."""
        for channel in self._of(node):
            for end in (channel, channel.other):
                end.lose()

    def partition(self, *nodes: int) -> None:
        """Cut these agents off: messages wait, and nobody notices. No node heals the partition."""
        self._apart = frozenset(nodes)
        held, self._held = self._held, []
        for channel, frame in held:
            channel.post(frame)

    def hold(self, channel: "SimChannel", frame: bytes | None) -> None:
        """Keep a frame until the partition heals."""
        self._held.append((channel, frame))

    def is_cut(self, node: int) -> bool:
        """Say whether agent `node` is behind a partition."""
        return node in self._apart

    def forget(self, channel: "SimChannel") -> None:
        """A channel is closed."""
        self._agents.pop(channel, None)

    def _of(self, node: int) -> list["SimChannel"]:
        return [channel for channel, owner in self._agents.items() if owner == node]


class SimListener:
    """Accepts the channels of agents that connect to `address`."""

    def __init__(self, address: str, listeners: dict[str, "SimListener"]) -> None:
        self.address = address
        self._listeners = listeners
        self._channels: asyncio.Queue[SimChannel] = asyncio.Queue()

    def greet(self, channel: "SimChannel") -> None:
        """Hand a new channel to `accept`."""
        self._channels.put_nowait(channel)

    async def accept(self) -> Channel:
        return await self._channels.get()

    async def close(self) -> None:
        self._listeners.pop(self.address, None)
        while not self._channels.empty():
            await self._channels.get_nowait().close()


class SimChannel:
    """One end of a connection of agent `node`; None among the frames is the end of the stream."""

    other: "SimChannel"

    def __init__(self, control: SimControl, peer: int, node: int) -> None:
        self.peer = peer
        self._control = control
        self._node = node
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closed = False

    def send(self, message: Message) -> None:
        if self._closed:
            raise PeerGoneError(self.peer)
        self.post(self._control.codec.encode(message))

    async def receive(self) -> Message:
        frame = await self._frames.get()
        if frame is None:
            self._frames.put_nowait(None)  # for whoever asks again
            raise PeerGoneError(self.peer)
        return self._control.codec.decode(frame)

    async def close(self) -> None:
        if not self._closed:
            self.die()
            self.lose()

    def die(self) -> None:
        """Send nothing more; the peer reads the end of the stream."""
        self.post(None)
        self._closed = True
        self._control.forget(self)

    def lose(self) -> None:
        """Notice at once that the connection is gone."""
        self._closed = True
        self._frames.put_nowait(None)
        self._control.forget(self)

    def post(self, frame: bytes | None) -> None:
        """Send a frame, or let a partition hold it."""
        if self._control.is_cut(self._node):
            self._control.hold(self, frame)
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(self._control.latency_s, self.other.arrive, frame)

    def arrive(self, frame: bytes | None) -> None:
        """A frame is here; a closed end ignores it."""
        if self._closed:
            return
        if frame is None:
            self.lose()
        else:
            self._frames.put_nowait(frame)
