"""Serving over HTTP for as long as it is wanted: real agents, one controller, one endpoint, one event loop.

Unlike a run it keeps no records; what is worth knowing is in the metrics.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from socket import socket

import msgspec

from lambdascale.cluster.controller import Controller
from lambdascale.cluster.records import Record, ReturnRecord, RunLog
from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments.agents import agent_site, local_site
from lambdascale.experiments.ground import kept
from lambdascale.experiments.run import Watch, ignore, in_processes
from lambdascale.experiments.session import Session
from lambdascale.experiments.trace_run import Workload, check_cluster_memory, trace_session
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.fleet.base import Site
from lambdascale.fleet.local import LocalSite
from lambdascale.fleet.placement import Placement
from lambdascale.fleet.state import StateFolder
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

CLUSTER = (
    *("models", "dtype", "num_nodes", "num_blocks", "max_slots", "max_length", "max_step_tokens"),
    *("transport", "link_gbps", "pcie_gbps", "ssd_gbps", "gpu_gb", "host_gb", "ssd_gb", "device"),
)


@dataclass(frozen=True, slots=True)
class Served:
    """Where an endpoint is and what it serves; `stop` ends it, from any thread."""

    address: str
    models: tuple[str, ...]
    stop: Callable[[], None]
    agents_found: int = 0  # of an earlier controller
    blocks_found: int = 0  # that they hold


Ready = Callable[[Served], None]
Where = Placement | StateFolder | None


def serve(
    spec: TraceSpec,
    endpoint: Endpoint,
    ready: Ready,
    watch: Watch = ignore,
    where: Where = None,
) -> None:
    """Serve the models of `spec` until stopped or interrupted; `ready` is told where once it takes requests.

    `watch` sees every record as it happens, in another thread. Agents are on a cluster as a placement says,
    else on this machine. With a state folder they outlive this process if it is killed, and the next one
    finds them with what they hold. Nothing of the specification's trace counts. Raises LambdaScaleError.
    """
    called_s = time.monotonic()
    with bound(endpoint) as sock, ExitStack() as stack:
        site = stack.enter_context(_site(where))
        service = _Service(spec, [load_packed(model, spec.dtype) for model in spec.models], watch)
        num_found = len(site.found) if isinstance(site, LocalSite) else 0
        if not num_found:
            check_cluster_memory(spec, service.session)
        ground = None
        if isinstance(where, StateFolder) and isinstance(site, LocalSite):
            ground = stack.enter_context(kept(where, site, cluster_of(spec, service.images)))

        async def work(controller: Controller) -> None:
            await service.run(controller, sock, endpoint, ready, num_found)

        log = RunLog(service.see, keep=False)
        in_processes(service.session, log, site, called_s, work, ground)


def _site(where: Where) -> Site:
    return local_site(where.door) if isinstance(where, StateFolder) else agent_site(where)


def cluster_of(spec: TraceSpec, images: Mapping[str, ImageSource]) -> dict[str, str]:
    """Return what agents of `spec` are for good, whoever commands them."""
    fields = {name: str(getattr(spec, name)) for name in CLUSTER}
    weights = sha256(msgspec.msgpack.encode(images)).hexdigest()[:16]
    return fields | {"weights": weights}


class _Service:
    """What is served, and what becomes of its records."""

    def __init__(self, spec: TraceSpec, packed: Sequence[PackedModel], watch: Watch) -> None:
        self.images = images = {p.layout.model: _image(spec, p) for p in packed}
        if len(images) < len(packed):
            raise ConfigError("two models have the same name; rename the folder of one of them")
        self.session: Session = trace_session(spec, Workload(images, (), ""))
        self._models = {p.layout.model: Model.of(p, spec.max_length) for p in packed}
        self._metrics = Metrics({name: image.blocks for name, image in images.items()})
        self._streams = Streams()
        self._watch = watch
        self._blocks_found = 0

    def see(self, record: Record) -> None:
        """Pass a record on."""
        self._streams.see(record)
        self._metrics.see(record)
        self._watch(record)
        if isinstance(record, ReturnRecord):
            self._blocks_found += record.blocks

    async def run(
        self,
        controller: Controller,
        sock: socket,
        endpoint: Endpoint,
        ready: Ready,
        num_found: int,
    ) -> None:
        """Serve on `sock` until stopped; raises what ends the controller, after telling every client."""
        self._metrics.watch(controller)
        backend = Backend(self._models, controller, self._streams)
        app = make_app(backend, self._metrics, endpoint)
        up = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(controller.serve(up))
            await up.wait()
            served = self._served(sock, stopped := asyncio.Event(), num_found)
            told, hang_up = partial(ready, served), partial(self._hang_up, serving)
            http = group.create_task(serve_http(app, sock, endpoint, told, hang_up))
            await stopped.wait()
            http.cancel()
            await asyncio.wait((http,))
            serving.cancel()

    def _served(self, sock: socket, stopped: asyncio.Event, num_found: int) -> Served:
        stop = partial(LoopCaller(asyncio.get_running_loop()), stopped.set)
        return Served(address_of(sock), tuple(self._models), stop, num_found, self._blocks_found)

    def _hang_up(self, serving: asyncio.Task[None]) -> None:
        failed = serving.done() and not serving.cancelled() and serving.exception()
        why = "has failed" if failed else "is shutting down"
        self._streams.end(LambdaScaleError(f"the server {why}; ask again later"))


def _image(spec: TraceSpec, packed: PackedModel) -> ImageSource:
    return ImageSource.of(packed, block_checksums(packed, spec.num_blocks))
