"""Ray's object store: the source has put the image, and an actor on every other host gets it.

Every host runs a Ray node of its own. The image is put before the clock starts.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ray

from lambdascale.experiments.peers.member import (
    SOURCE,
    Exchange,
    Task,
    digest_of,
    new_image,
    serve,
    stamp,
)

STORE_IMAGES = 4  # that the object store of a node has room for
START_S = 60.0
SEAT = "seat-{}"  # a resource that only one node has
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


class Getter:
    """Lives on one node and keeps the last image that it got."""

    def get(self, reference: list[Any]) -> None:
        self._image = ray.get(reference[0])

    def digest(self) -> str:
        found = digest_of(memoryview(self._image))
        del self._image  # or the store could not drop the object
        return found


class Ray:
    """One Ray node; that of the source is the head, and the source's process the driver."""

    def __init__(self, task: Task, exchange: Exchange) -> None:
        self._task, self._exchange = task, exchange
        self._folder = tempfile.mkdtemp()  # in the folder of this sitting
        self._getters: list[Any] = []
        if task.node == SOURCE:
            self._image = new_image(task.nbytes)
            self._start("--head", "--port=0", "--include-dashboard=false")
        head = exchange(self._head())[SOURCE]
        if task.node != SOURCE:
            self._start(f"--address={head}")
        exchange("started")
        if task.node == SOURCE:
            ray.init(address=head, _node_ip_address=task.address, log_to_driver=False)
            self._getters = [self._getter(node) for node in range(1, task.num_nodes)]
            ray.get([getter.__ray_ready__.remote() for getter in self._getters], timeout=START_S)

    def _start(self, *which: str) -> None:
        task = self._task
        argv = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            *which,
            f"--node-ip-address={task.address}",
            f"--object-store-memory={STORE_IMAGES * task.nbytes}",
            f'--resources={{"{SEAT.format(task.node)}": 1}}',
            "--num-cpus=1",
            f"--temp-dir={self._folder}",
        ]
        env = os.environ | SETTINGS
        subprocess.run(argv, env=env, check=True, stdout=sys.stderr, timeout=START_S)

    def _head(self) -> str:
        """Where the head is; only the head knows."""
        if self._task.node != SOURCE:
            return ""
        return Path(self._folder, "ray_current_cluster").read_text(encoding="utf-8").strip()

    def _getter(self, node: int) -> Any:
        return ray.remote(Getter).options(num_cpus=0, resources={SEAT.format(node): 1}).remote()

    def prepare(self, round_number: int) -> None:
        if self._task.node == SOURCE:
            stamp(memoryview(self._image), round_number)
            self._reference = ray.put(np.frombuffer(self._image, np.uint8))

    def run(self) -> None:
        if self._task.node == SOURCE:
            ray.get([getter.get.remote([self._reference]) for getter in self._getters])

    def digest(self) -> str:
        mine = ""
        found: list[str] = []
        if self._task.node == SOURCE:
            mine = digest_of(memoryview(self._image))
            found = ray.get([getter.digest.remote() for getter in self._getters])
            del self._reference
        return str(self._exchange([mine, *found])[SOURCE][self._task.node])

    def close(self) -> None:
        if self._task.node == SOURCE:
            ray.shutdown()


if __name__ == "__main__":
    serve(Ray)
