"""What processes hold while they live, and whether anything of it is left when they are gone."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

PATIENCE_S = 3.0
SHARED = (Path("/dev/shm"), Path("/dev/hugepages"))


@dataclass(frozen=True, slots=True)
class Footprint:
    """Processes, the addresses they listen at, the shared memory and temporary files they made."""

    processes: tuple[psutil.Process, ...]
    addresses: frozenset[str]
    regions: int
    scratch: Path

    @property
    def gone(self) -> bool:
        listening = {address for process in psutil.process_iter() for address in bound(process)}
        return (
            not alive(self.processes) and not self.addresses & listening and not files(self.scratch)
        )


def footprint(pid: int, scratch: Path) -> Footprint:
    """Take the footprint of a process and all its descendants; their TMPDIR is `scratch`."""
    root = psutil.Process(pid)
    processes = (root, *root.children(recursive=True))
    addresses = frozenset(address for process in processes for address in bound(process))
    return Footprint(processes, addresses, sum(map(regions, processes)), scratch)


def bound(process: psutil.Process) -> set[str]:
    """The TCP ports and the named Unix sockets of a process; none if it has ended."""
    try:
        connections = process.net_connections("all")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return set()
    ports = {str(c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}
    return ports | {c.laddr for c in connections if isinstance(c.laddr, str) and c.laddr}


def regions(process: psutil.Process) -> int:
    """How many of our shared-memory regions a process maps."""
    return Path(f"/proc/{process.pid}/maps").read_text().count("memfd:lambdascale")


def files(folder: Path) -> list[Path]:
    """Files in `folder`, and those of ours where shared memory with names would be.

    The folder that torch makes for what it may compile later is torch's, and stays.
    """
    named = [p for where in SHARED if where.is_dir() for p in where.glob("*lambdascale*")]
    made = [p for p in folder.rglob("*") if not p.name.startswith("torchinductor_")]
    return [*made, *named]


def alive(processes: tuple[psutil.Process, ...]) -> list[psutil.Process]:
    return [process for process in processes if lives(process)]


def lives(process: psutil.Process) -> bool:
    """Is it there, and more than an entry that nobody has collected yet?"""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def own_children() -> list[psutil.Process]:
    """Processes that this one started, directly or not, and that still live."""
    children = psutil.Process(os.getpid()).children(recursive=True)
    return alive(tuple(child for child in children if "resource_tracker" not in cmdline(child)))


def cmdline(process: psutil.Process) -> str:
    """Its command line; the standard library's tracker of spawned processes lives as long as pytest."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def within(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
    """Wait until `condition` holds, at most `seconds`."""
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return held
