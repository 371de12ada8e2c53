"""Serving over HTTP for as long as it is wanted: real agents, one controller, one endpoint, one event loop.

Unlike a run it keeps no records; what is worth knowing is in the metrics.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from socket import socket

from lambdascale.cluster.controller import Controller
from lambdascale.cluster.records import Record, RunLog
from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.run import Watch, ignore, in_processes
from lambdascale.experiments.session import Session
from lambdascale.experiments.trace_run import Workload, check_cluster_memory, trace_session
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.fleet.placement import Placement
from lambdascale.model.catalogue import load_packed
from lambdascale.model.checksum import block_checksums
from lambdascale.model.image import ImageSource
from lambdascale.model.packed import PackedModel
from lambdascale.serve.app import make_app
from lambdascale.serve.backend import Backend, Model
from lambdascale.serve.limits import Endpoint
from lambdascale.serve.metrics import Metrics
from lambdascale.serve.server import address_of, bound, serve_http
from lambdascale.serve.streams import Streams
from lambdascale.transport.threads import LoopCaller


@dataclass(frozen=True, slots=True)
class Served:
    """Where an endpoint is and what it serves; `stop` ends it, from any thread."""

    address: str
    models: tuple[str, ...]
    stop: Callable[[], None]


Ready = Callable[[Served], None]


def serve(
    spec: TraceSpec,
    endpoint: Endpoint,
    ready: Ready,
    watch: Watch = ignore,
    placement: Placement | None = None,
) -> None:
    """Serve the models of `spec` until stopped or interrupted; `ready` is told where once it takes requests.

    `watch` sees every record as it happens, in another thread. Agents are on a cluster where `placement` says
    so, else on this machine. Nothing of the specification's trace counts. Raises LambdaScaleError.
    """
    called_s = time.monotonic()
    with bound(endpoint) as sock, agent_site(placement) as site:
        packed = [load_packed(model, spec.dtype) for model in spec.models]
        service = _Service(spec, packed, watch)
        check_cluster_memory(spec, service.session)

        async def work(controller: Controller) -> None:
            await service.run(controller, sock, endpoint, ready)

        in_processes(service.session, RunLog(service.see, keep=False), site, called_s, work)


class _Service:
    """What is served, and what becomes of its records."""

    def __init__(self, spec: TraceSpec, packed: Sequence[PackedModel], watch: Watch) -> None:
        images = {p.layout.model: _image(spec, p) for p in packed}
        if len(images) < len(packed):
            raise ConfigError("two models have the same name; rename the folder of one of them")
        self.session: Session = trace_session(spec, Workload(images, (), ""))
        self._models = {p.layout.model: Model.of(p, spec.max_length) for p in packed}
        self._metrics = Metrics({name: image.blocks for name, image in images.items()})
        self._streams = Streams()
        self._watch = watch

    def see(self, record: Record) -> None:
        """Pass a record on."""
        self._streams.see(record)
        self._metrics.see(record)
        self._watch(record)

    async def run(
        self,
        controller: Controller,
        sock: socket,
        endpoint: Endpoint,
        ready: Ready,
    ) -> None:
        """Serve on `sock` until stopped; raises what ends the controller, after telling every client."""
        self._metrics.watch(controller)
        backend = Backend(self._models, controller, self._streams)
        app = make_app(backend, self._metrics, endpoint)
        up = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(controller.serve(up))
            await up.wait()
            told = partial(ready, self._served(sock, stopped := asyncio.Event()))
            http = group.create_task(serve_http(app, sock, endpoint, told, self._hang_up))
            await stopped.wait()
            http.cancel()
            await asyncio.wait((http,))
            serving.cancel()

    def _served(self, sock: socket, stopped: asyncio.Event) -> Served:
        stop = partial(LoopCaller(asyncio.get_running_loop()), stopped.set)
        return Served(address_of(sock), tuple(self._models), stop)

    def _hang_up(self) -> None:
        self._streams.end(LambdaScaleError("the server is shutting down; ask again later"))


def _image(spec: TraceSpec, packed: PackedModel) -> ImageSource:
    return ImageSource.of(packed, block_checksums(packed, spec.num_blocks))
