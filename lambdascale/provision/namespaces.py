"""Several hosts on one Linux machine: network namespaces joined by a switch, with shaped links.

    host 0 ──veth── switch ──veth── host 1 …      tbf at both ends of each link: egress and ingress of a host

Every host has its own address and loopback, and sees only the others. Needs root and iproute2; nothing is
left behind. What runs on it is emulated: real TCP, at a rate that the kernel imposes. Its congestion control
is `CONGESTION`, whatever the machine's default (times varied more under bbr).
"""

import contextlib
import ipaddress
import os
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from lambdascale.errors import ConfigError, DeadlineError
from lambdascale.signals import terminated_as_interrupted
from lambdascale.units import BITS_PER_BYTE

MAX_HOSTS = 250
NETWORK = "10.77.0.0/24"  # seen by the hosts alone, so it collides with nothing
LATENCY_MS = 50  # how long a packet may wait at a full link
POLL_S = 0.01
END_S = 10.0
CONGESTION = "reno"  # the one that every kernel lets a namespace choose
BURST_S = 0.002  # of traffic that may pass at once: more than a timer tick of the kernel


@dataclass(frozen=True, slots=True)
class Host:
    """One namespace: its name, and its address on the switch."""

    name: str
    address: str

    def command(self, *argv: str) -> list[str]:
        """Return the command line that runs `argv` on this host."""
        return ["ip", "netns", "exec", self.name, *argv]

    def end_processes(self) -> None:
        """End whatever runs on this host, children of children included. Raises DeadlineError."""
        until = time.monotonic() + END_S
        while pids := _call("ip", "netns", "pids", self.name).split():
            if time.monotonic() > until:
                raise DeadlineError(
                    f"processes {pids} on {self.name} have not ended in {END_S:g} s"
                )
            for pid in map(int, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_S)


def missing() -> str:
    """Return what keeps this machine from having namespaces, in one line; empty if nothing does."""
    if os.geteuid() != 0:
        return "network namespaces need root; run as root"
    lacking = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    return f"{' and '.join(lacking)} missing; install iproute2" if lacking else ""


class Namespaces:
    """A context manager: `count` hosts whose links carry `rate` bytes/s in each direction.

    Termination is an interrupt meanwhile, so that nothing is left behind.
    """

    def __init__(self, count: int, rate: float) -> None:
        if not 1 <= count <= MAX_HOSTS:
            raise ConfigError(f"hosts is {count}; choose 1 to {MAX_HOSTS}")
        if not rate > 0:
            raise ConfigError(f"link rate is {rate} bytes/s; it must be positive")
        self._rate = rate
        self._signals = terminated_as_interrupted()
        self._tag = secrets.token_hex(3)
        self._switch = f"lscale-{self._tag}-switch"
        self.hosts = tuple(
            Host(f"lscale-{self._tag}-{n}", str(ipaddress.ip_network(NETWORK)[n + 1]))
            for n in range(count)
        )

    @property
    def network(self) -> str:
        """The network that all addresses lie in."""
        return NETWORK

    def __enter__(self) -> Self:
        if reason := missing():
            raise ConfigError(reason)
        self._signals.__enter__()
        try:
            self._add(self._switch)
            _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "switch", "up")
            for number, host in enumerate(self.hosts):
                self._plug(number, host)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()
        self._signals.__exit__(None, None, None)

    def shape(self, number: int, rate: float) -> None:
        """Let the link of a host carry `rate` bytes/s from now on, in each direction."""
        for name, device in ((self.hosts[number].name, "eth0"), (self._switch, f"port{number}")):
            _shape(name, device, rate)

    def _plug(self, number: int, host: Host) -> None:
        self._add(host.name)
        switch, port = self._switch, f"port{number}"
        length = ipaddress.ip_network(NETWORK).prefixlen
        pair = ("type", "veth", "peer", "name", "eth0", "netns", host.name)
        _ip("-n", switch, "link", "add", port, *pair)
        _ip("-n", switch, "link", "set", port, "master", "switch", "up")
        _ip("-n", host.name, "addr", "add", f"{host.address}/{length}", "dev", "eth0")
        _ip("-n", host.name, "link", "set", "eth0", "up")
        setting = f"echo {CONGESTION} > /proc/sys/net/ipv4/tcp_congestion_control"
        _call(*host.command("sh", "-c", setting))
        self.shape(number, self._rate)

    def _add(self, name: str) -> None:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")

    def _remove(self) -> None:
        """End what still runs on the hosts; remove every namespace that exists, and with it its links."""
        there = subprocess.run(
            ["ip", "netns", "list"], capture_output=True, text=True, check=True
        ).stdout.split()
        for name in (*(host.name for host in self.hosts), self._switch):
            if name in there:
                Host(name, "").end_processes()
                _ip("netns", "delete", name)


def _shape(namespace: str, device: str, rate: float) -> None:
    burst = max(int(rate * BURST_S), 1 << 15)
    bucket = ("tbf", "rate", f"{round(rate * BITS_PER_BYTE)}bit", "burst", str(burst))
    _call(
        "tc",
        "-n",
        namespace,
        "qdisc",
        "replace",
        "dev",
        device,
        "root",
        *bucket,
        "latency",
        f"{LATENCY_MS}ms",
    )


def _ip(*arguments: str) -> None:
    _call("ip", *arguments)


def _call(*argv: str) -> str:
    """Run a tool and return its output; raise ConfigError with what it said if it fails."""
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ConfigError(f"{' '.join(argv)}: {result.stderr.strip() or 'failed'}")
    return result.stdout
