"""A Ray cluster on shaped hosts of this machine: one Ray node per network namespace, the head on host 0.

Small on purpose: no dashboard, a little object memory, since Ray only places and watches agents here.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from lambdascale.errors import ConfigError, DeadlineError
from lambdascale.provision.namespaces import Host, Namespaces

START_S, END_S = 180.0, 15.0  # a dozen Python processes begin, on few cores
LOG = "start.log"
STARTED = "Ray runtime started"
OBJECT_STORE = 75 << 20  # bytes, the least that Ray takes
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill agents for the sake of other processes
    "RAY_raylet_start_wait_time_s": f"{START_S:.0f}",
}


class RayNodes:
    """A context manager: `cpus` places for agents on each of the hosts; `address` is the head's."""

    def __init__(self, namespaces: Namespaces, cpus: int) -> None:
        self._hosts = namespaces.hosts
        self._cpus = cpus
        self._stack = ExitStack()
        self.address = ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # unix sockets lie in it, whose paths must be short
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-")))
            head, *others = ((host, folder / str(n)) for n, host in enumerate(self._hosts))
            self._start(stack, [head], "--head", "--port=0", "--include-dashboard=false")
            self.address = (head[1] / "ray_current_cluster").read_text(encoding="utf-8").strip()
            self._start(stack, others, f"--address={self.address}")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack, nodes: Sequence[tuple[Host, Path]], *options: str) -> None:
        """Start a node on each host, each with its folder, at once; wait until all have begun."""
        began = []
        for host, folder in nodes:
            folder.mkdir()
            process = _node(host, folder, f"--num-cpus={self._cpus}", *options)
            stack.callback(_stop, process)
            began.append((process, folder / LOG))
        for process, log in began:
            _wait(process, log)


def _node(host: Host, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    ray = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats")
    where = (f"--node-ip-address={host.address}", f"--temp-dir={folder}")
    size = ("--num-gpus=0", f"--object-store-memory={OBJECT_STORE}")
    with (folder / LOG).open("wb") as output:
        return subprocess.Popen(
            host.command(*ray, *where, *size, *options),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | ENVIRONMENT,
            start_new_session=True,  # an interrupt at the terminal is ours to handle
        )


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while STARTED not in (said := log.read_text(encoding="utf-8", errors="replace")):
        if process.poll() is not None:
            last = (said.strip().splitlines() or ["no message"])[-1]
            raise ConfigError(f"a Ray node did not start ({last}); see `ray start --help`")
        if time.monotonic() > end:
            raise DeadlineError(f"a Ray node took over {START_S:.0f} s to start")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End one node as `ray stop` would; what is left after that ends with its namespace."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
