"""NVIDIA's NIXL: every receiver reads the image from the source, through UCX over TCP."""

import os
import time

os.environ.setdefault("UCX_TLS", "tcp,self")  # before UCX reads it

import torch
from nixl._api import nixl_agent, nixl_agent_config

from lambdascale.experiments.peers.member import (
    SOURCE,
    Exchange,
    Task,
    digest_of,
    new_image,
    serve,
    stamp,
)

POLL_S = 1e-4


class Nixl:
    """One agent; at a receiver, a read of the whole image that can be repeated."""

    def __init__(self, task: Task, exchange: Exchange) -> None:
        self._task = task
        at_source = task.node == SOURCE
        self._image = new_image(task.nbytes) if at_source else bytearray(task.nbytes)
        tensor = torch.frombuffer(self._image, dtype=torch.uint8)
        self._agent = nixl_agent(f"node {task.node}", nixl_agent_config(backends=["UCX"]))
        self._agent.register_memory(tensor)
        mine = self._agent.get_xfer_descs(tensor)
        told = self._agent.get_agent_metadata(), self._agent.get_serialized_descs(mine)
        metadata, places = map(bytes.fromhex, exchange([part.hex() for part in told])[SOURCE])
        self._read = None
        if not at_source:
            source = self._agent.add_remote_agent(metadata)
            theirs = self._agent.deserialize_descs(places)
            self._read = self._agent.initialize_xfer("READ", mine, theirs, source)

    def prepare(self, round_number: int) -> None:
        if self._task.node == SOURCE:
            stamp(memoryview(self._image), round_number)

    def run(self) -> None:
        if self._read is None:
            return
        state = self._agent.transfer(self._read)
        while state == "PROC":
            time.sleep(POLL_S)
            state = self._agent.check_xfer_state(self._read)
        if state != "DONE":
            raise RuntimeError(f"the read ended as {state}")

    def digest(self) -> str:
        return digest_of(memoryview(self._image))

    def close(self) -> None:
        if self._read is not None:
            self._agent.release_xfer_handle(self._read)


if __name__ == "__main__":
    serve(Nixl)
