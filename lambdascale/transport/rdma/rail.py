"""A port in use: its device opened, one protection domain, and memory registered with it.

A write is posted in messages of at most `max_message` bytes. If requests are under way and none has completed
for `silence_s`, their peer is lost; a software device is allowed to be slow.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from lambdascale.errors import ConfigError
from lambdascale.transport.over_tcp import SILENCE_SECONDS
from lambdascale.transport.rdma import verbs
from lambdascale.transport.rdma.ports import RdmaPort
from lambdascale.transport.rdma.verbs import e

_MESSAGE = 1 << 26  # short enough to complete many times a second
_SOFTWARE_MESSAGE = 1 << 16
_SOFTWARE_SILENCE_S = 9.0
_WINDOWS = ("IBV_DEVICE_MEM_WINDOW_TYPE_2A", "IBV_DEVICE_MEM_WINDOW_TYPE_2B")


class Rail:
    """One of the ways out of a node. `poll_s`: see `pair`."""

    def __init__(self, port: RdmaPort, poll_s: float, on_removal: Callable[["Rail"], None]) -> None:
        self.port = port
        self.poll_s = poll_s
        self._on_removal = on_removal
        self._loop = asyncio.get_running_loop()
        before = verbs.event_descriptors()
        try:
            self.context = verbs.device.Context(name=port.device)
            self._descriptors = verbs.event_descriptors() - before
            self.pd = verbs.pd.PD(self.context)
            attributes = self.context.query_port(port.number)
            capabilities = self.context.query_device().device_cap_flags
        except verbs.Failure as error:
            raise ConfigError(f"cannot open RDMA port {port.name}: {error}") from error
        self.mtu = int(attributes.active_mtu)
        message = _SOFTWARE_MESSAGE if port.is_software else _MESSAGE
        self.max_message = min(int(attributes.max_msg_sz), message)
        self.silence_s = _SOFTWARE_SILENCE_S if port.is_software else SILENCE_SECONDS
        self.has_windows = any(capabilities & getattr(e, name) for name in _WINDOWS)
        for descriptor in self._descriptors:
            self._loop.add_reader(descriptor, self._on_event)

    def register(self, address: int, nbytes: int) -> Any:
        """Register memory, which pins it; blocks (about a second for some GiB). Raises ConfigError.

        Peers can write it only through a window, or, where the device has none, by its own key.
        """
        try:
            return verbs.mr.MR(self.pd, nbytes, self._access, address=address)
        except verbs.Failure as error:
            raise ConfigError(
                f"cannot register {nbytes} bytes with {self.port.name} ({error}); raise the limit of "
                "locked memory (ulimit -l unlimited), or free memory"
            ) from error

    def register_dmabuf(self, descriptor: int, nbytes: int) -> Any:
        """Register memory of another device; peers address it from 0. Raises ConfigError."""
        try:
            return verbs.mr.DmaBufMR(self.pd, nbytes, self._access, dmabuf=descriptor)
        except verbs.Failure as error:
            raise ConfigError(f"{self.port.name} takes no dma-buf ({error})") from error

    @property
    def _access(self) -> int:
        """By windows only, where there are any."""
        remote = e.IBV_ACCESS_MW_BIND if self.has_windows else e.IBV_ACCESS_REMOTE_WRITE
        return int(e.IBV_ACCESS_LOCAL_WRITE | remote)

    def _on_event(self) -> None:
        event = self.context.get_async_event()
        kind = event.event_type
        event.ack()
        if kind == e.IBV_EVENT_DEVICE_FATAL:
            self.forget_events()
            self._on_removal(self)

    def forget_events(self) -> None:
        """Listen to the device no more."""
        for descriptor in self._descriptors:
            self._loop.remove_reader(descriptor)

    def close(self) -> None:
        """Close the device; everything made with it must be closed before."""
        self.forget_events()
        self.pd.close()
        self.context.close()
