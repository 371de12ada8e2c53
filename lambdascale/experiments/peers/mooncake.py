"""Mooncake's transfer engine: every receiver reads the image from the source, over its TCP transport."""

import ctypes

from mooncake.engine import TransferEngine

from lambdascale.experiments.peers.member import (
    SOURCE,
    Exchange,
    Task,
    digest_of,
    new_image,
    serve,
    stamp,
)


class Mooncake:
    """One engine; peers find each other by address, without a metadata server."""

    def __init__(self, task: Task, exchange: Exchange) -> None:
        self._task = task
        self._image = new_image(task.nbytes) if task.node == SOURCE else bytearray(task.nbytes)
        self._place = ctypes.addressof(ctypes.c_char.from_buffer(self._image))
        self._engine = TransferEngine()
        _check(self._engine.initialize(task.address, "P2PHANDSHAKE", "tcp", ""), "initialize")
        _check(self._engine.register_memory(self._place, task.nbytes), "register_memory")
        told = exchange([f"{task.address}:{self._engine.get_rpc_port()}", self._place])
        self._source, self._origin = told[SOURCE]

    def prepare(self, round_number: int) -> None:
        if self._task.node == SOURCE:
            stamp(memoryview(self._image), round_number)

    def run(self) -> None:
        if self._task.node != SOURCE:
            read = self._engine.transfer_sync_read
            _check(read(self._source, self._place, self._origin, self._task.nbytes), "read")

    def digest(self) -> str:
        return digest_of(memoryview(self._image))

    def close(self) -> None:
        self._engine.unregister_memory(self._place)


def _check(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"{what} failed with {status}")


if __name__ == "__main__":
    serve(Mooncake)
