"""What Prometheus may scrape: latencies as clients see them, queues, replicas, bytes, scale-outs, losses.

Time to first token: from the moment a request has been taken in to the moment its first token is here. Time
per token: of an answer of several tokens, the seconds from its first to its last over one less than their
number. Bytes are those of blocks that have arrived and been verified. A GPU counts as long as its node is
assigned to the model: while it loads, serves or drains.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lambdascale.cluster.controller import Controller
from lambdascale.cluster.records import (
    SCALE_PHASES,
    AllocationRecord,
    BlockRecord,
    LossRecord,
    Record,
    ReturnRecord,
    ScaleRecord,
)
from lambdascale.model.blocks import BlockMap
from lambdascale.serve.allocated import Allocated
from lambdascale.storage.tiers import Tier

FIRST_TOKEN_S = (*(0.01, 0.025, 0.05, 0.1, 0.25, 0.5), *(1, 2.5, 5, 10, 30, 60))
PER_TOKEN_S = (*(0.001, 0.0025, 0.005, 0.01, 0.025), *(0.05, 0.1, 0.25, 0.5, 1))
PHASE_S = (*(0.001, 0.005, 0.01, 0.05, 0.1), *(0.5, 1, 5, 10, 60))
ANSWERED, FAILED, LEFT, REFUSED = "answered", "failed", "left", "refused"
LAST_PHASE = SCALE_PHASES[-1]


class Metrics:
    """Counts and times; shown every record of the run, and told of every request."""

    def __init__(self, blocks: Mapping[str, BlockMap]) -> None:
        self.registry = CollectorRegistry()
        self._blocks = blocks
        self._phases: dict[int, float] = {}  # of the scale-outs that are under way: their last one

        def histogram(
            name: str, help_text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
        ) -> Histogram:
            return Histogram(
                f"lambdascale_{name}", help_text, labels, buckets=buckets, registry=self.registry
            )

        def counter(name: str, help_text: str, labels: tuple[str, ...]) -> Counter:
            return Counter(f"lambdascale_{name}", help_text, labels, registry=self.registry)

        self.first_token = histogram(
            "time_to_first_token_seconds", "From taking a request in to its first token.",
            ("model",), FIRST_TOKEN_S,
        )  # fmt: skip
        self.per_token = histogram(
            "time_per_output_token_seconds", "From the first token to the last, per token.",
            ("model",), PER_TOKEN_S,
        )  # fmt: skip
        self.phases = histogram(
            "scale_out_phase_seconds", "Seconds that each phase of a scale-out took.",
            ("model", "phase"), PHASE_S,
        )  # fmt: skip
        self.requests = counter("requests", "Requests by how they ended.", ("model", "outcome"))
        self.tokens = counter("output_tokens", "Tokens given to clients.", ("model",))
        self.moved = counter(
            "moved_bytes", "Bytes of blocks, by where they came from.", ("model", "origin")
        )
        self.lost = counter("nodes_lost", "Nodes that have ended.", ())
        self.returned = counter("nodes_returned", "Nodes that have come back.", ())
        self.allocated = Allocated()

    def see(self, record: Record) -> None:
        """Count what moved, who works for what and who has gone, and how long phases took."""
        match record:
            case AllocationRecord():
                self.allocated.see(record)
            case LossRecord():
                self.lost.inc()
            case ReturnRecord():
                self.returned.inc()
            case BlockRecord():
                _, nbytes = self._blocks[record.model].span(record.block)
                self.moved.labels(record.model, record.origin).inc(nbytes)
            case ScaleRecord():
                self._phase(record)

    def _phase(self, record: ScaleRecord) -> None:
        before = self._phases.pop(record.scale_out, None)
        if before is not None:
            seconds = max(0.0, record.time_s - before)
            self.phases.labels(record.model, record.phase).observe(seconds)
        if record.phase != LAST_PHASE:
            self._phases[record.scale_out] = record.time_s

    def watch(self, controller: Controller) -> None:
        """Show what the controller has at the moment of each scrape."""
        self.registry.register(_State(controller, self.allocated))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class Timing:
    """One request, from the moment it has been taken in; a context that notes how it ended."""

    def __init__(
        self, metrics: Metrics, model: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._model = model
        self._clock = clock
        self._begun_s = clock()
        self._first_s = self._last_s = 0.0
        self._num_tokens = 0
        self.outcome = LEFT

    def token(self) -> None:
        """A token is here."""
        self._last_s = self._clock()
        self._num_tokens += 1
        self._metrics.tokens.labels(self._model).inc()
        if self._num_tokens == 1:
            self._first_s = self._last_s
            self._metrics.first_token.labels(self._model).observe(self._last_s - self._begun_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        metrics, model, num = self._metrics, self._model, self._num_tokens
        metrics.requests.labels(model, self.outcome).inc()
        if num > 1:
            metrics.per_token.labels(model).observe((self._last_s - self._first_s) / (num - 1))


class _State(Collector):
    """Gauges that are read when they are asked for."""

    def __init__(self, controller: Controller, allocated: Allocated) -> None:
        self._controller = controller
        self._allocated = allocated

    def collect(self) -> Iterator[Metric]:
        yield from self._cluster()
        yield from self._models()

    def _cluster(self) -> Iterator[Metric]:
        nodes = _gauge("nodes", "Nodes that live.")
        nodes.add_metric([], self._controller.num_alive)
        seconds = CounterMetricFamily(
            "lambdascale_gpu_seconds",
            "Seconds for which GPUs worked for a model.",
            labels=["model"],
        )
        for model, total_s in self._allocated.seconds().items():
            seconds.add_metric([model], total_s)
        yield from (nodes, seconds)

    def _models(self) -> Iterator[Metric]:
        waiting = _gauge("queue_length", "Requests that wait for a slot.", "model")
        serving = _gauge("requests_in_flight", "Requests that hold a slot.", "model")
        servers = _gauge(
            "pipelines", "Replicas and execution pipelines that serve.", "model", "kind"
        )
        copies = _gauge("replicas", "Whole copies of the model per tier.", "model", "tier")
        for model, service in self._controller.services.items():
            waiting.add_metric([model], service.router.num_waiting)
            serving.add_metric([model], service.router.num_serving)
            kinds = [served.record.kind for served in service.pipelines.served.values()]
            for kind in ("replica", "pipeline"):
                servers.add_metric([model, kind], kinds.count(kind))
            for tier in Tier:
                held = self._controller.stock.holders(model, tier)
                copies.add_metric([model, tier.name.lower()], len(held))
        yield from (waiting, serving, servers, copies)


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lambdascale_{name}", help_text, labels=labels)
