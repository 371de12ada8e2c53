"""The control plane's interface: ordered, typed messages between the controller and its agents.

Bodies: `control.streams` (authenticated TCP streams); the simulated one lives in `sim`. A peer that
goes away is noticed by its closed channel.
"""

from typing import Protocol

from lambdascale.control.messages import Message

CONTROLLER = -1  # its name as a peer


class Channel(Protocol):
    """One ordered, two-way stream of messages to `peer`; the controller is peer −1."""

    @property
    def peer(self) -> int: ...
    def send(self, message: Message) -> None:
        """Queue `message`; never blocks. Raises PeerGoneError if the channel is known to be closed."""
        ...

    async def receive(self) -> Message:
        """Return the next message; raises PeerGoneError when the peer is gone and all was read."""
        ...

    async def close(self) -> None:
        """Flush what was sent, then close. Idempotent."""
        ...


class Listener(Protocol):
    """The controller's door: agents that prove they know the secret come out of `accept`."""

    @property
    def address(self) -> str: ...
    async def accept(self) -> Channel: ...
    async def close(self) -> None: ...


class Control(Protocol):
    """Opens listeners and channels of one kind."""

    async def listen(self) -> Listener: ...
    async def connect(self, address: str, node: int) -> Channel:
        """Open a channel as agent `node`; PeerGoneError if nobody answers, AuthError on a wrong secret."""
        ...
