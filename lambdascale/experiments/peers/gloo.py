"""PyTorch's broadcast over gloo, as `torch.distributed` offers it to anybody without GPUs."""

import os
import socket
import tempfile
from datetime import timedelta

import torch
import torch.distributed as dist

from lambdascale.experiments.peers.member import (
    SOURCE,
    Exchange,
    Task,
    digest_of,
    new_image,
    serve,
    stamp,
)

WAIT = timedelta(seconds=60)


class Gloo:
    """One rank."""

    def __init__(self, task: Task, exchange: Exchange) -> None:
        self._task = task
        os.environ["GLOO_SOCKET_IFNAME"] = _interface()
        at_source = task.node == SOURCE
        meeting = exchange(tempfile.mkdtemp() if at_source else "")[SOURCE]
        dist.init_process_group(
            "gloo",
            init_method=f"file://{meeting}/store",
            rank=task.node,
            world_size=task.num_nodes,
            timeout=WAIT,
        )
        self._image = new_image(task.nbytes) if at_source else bytearray(task.nbytes)
        self._tensor = torch.frombuffer(self._image, dtype=torch.uint8)

    def prepare(self, round_number: int) -> None:
        if self._task.node == SOURCE:
            stamp(memoryview(self._image), round_number)

    def run(self) -> None:
        dist.broadcast(self._tensor, SOURCE)

    def digest(self) -> str:
        return digest_of(memoryview(self._image))

    def close(self) -> None:
        dist.destroy_process_group()


def _interface() -> str:
    """The interface of this host that is not its loopback: gloo would look its name up instead."""
    return next(name for _, name in socket.if_nameindex() if name != "lo")


if __name__ == "__main__":
    serve(Gloo)
