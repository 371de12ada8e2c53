"""A Ray cluster on shaped hosts of this machine: one Ray node per network namespace, the head on host 0.

Small on purpose: no dashboard, a little object memory, since Ray only places and watches agents here.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from lambdascale.errors import ConfigError, DeadlineError
from lambdascale.provision.namespaces import Host, Namespaces

START_S, END_S = 60.0, 15.0
WAIT_S = 30  # Ray's own patience with a node
ATTEMPTS = 3
LOG = "start.log"
STARTED = "Ray runtime started"
OBJECT_STORE = 75 << 20  # bytes, the least that Ray takes
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill agents for the sake of other processes
    "RAY_raylet_start_wait_time_s": str(WAIT_S),
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
            head, *others = self._hosts
            home = folder / "0"
            self._start(stack, head, home, "--head", "--port=0", "--include-dashboard=false")
            self.address = (home / "ray_current_cluster").read_text(encoding="utf-8").strip()
            for n, host in enumerate(
                others, 1
            ):  # at once they would keep one another from being in time
                self._start(stack, host, folder / str(n), f"--address={self.address}")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack, host: Host, folder: Path, *options: str) -> None:
        """Start a node and wait until it has begun; again, if it was too slow for Ray."""
        for _ in range(ATTEMPTS):
            folder.mkdir(exist_ok=True)
            process = _node(host, folder, f"--num-cpus={self._cpus}", *options)
            stack.callback(_stop, process)
            if _begins(process, folder / LOG):
                return
            last = ((folder / LOG).read_text(encoding="utf-8").strip().splitlines() or ["no word"])[
                -1
            ]
        raise ConfigError(
            f"a Ray node did not start in {ATTEMPTS} attempts ({last}); leave this machine more of its cores"
        )


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


def _begins(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Wait for a node; False if it ended."""
    end = time.monotonic() + START_S
    while STARTED not in log.read_text(encoding="utf-8", errors="replace"):
        if process.poll() is not None:
            return False
        if time.monotonic() > end:
            raise DeadlineError(f"a Ray node took over {START_S:.0f} s to start")
        time.sleep(0.1)
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End one node as `ray stop` would; what is left after that ends with its namespace."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
