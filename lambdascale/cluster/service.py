"""One deployed model: its router, its replicas and pipelines, its scale-outs.

What the agents report comes in, what they must do goes out by `send`. Which nodes it may have is the
controller's to say.
"""

from collections import deque
from collections.abc import Sequence

from lambdascale.clock import now
from lambdascale.cluster.deployment import Deployment
from lambdascale.cluster.growth import Growth
from lambdascale.cluster.losses import Losses
from lambdascale.cluster.paces import Paces
from lambdascale.cluster.phases import FULL_SPEED
from lambdascale.cluster.pipelines import Pipelines, Served
from lambdascale.cluster.records import FailedRecord, RunLog, TokenRecord
from lambdascale.cluster.router import Router, Work
from lambdascale.cluster.stock import Send, Stock
from lambdascale.cluster.switching import Switching
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.pipeline.formation import NOTHING
from lambdascale.workload.request import Request


class Service:
    """Serves the requests of one model on the instances it is given."""

    def __init__(
        self,
        deployment: Deployment,
        system: SystemSpec,
        stock: Stock,
        switching: Switching,
        send: Send,
        log: RunLog,
    ) -> None:
        self.deployment = deployment
        self.model = deployment.model
        self.router = Router(system.max_queue)
        self.growths: dict[int, Growth] = {}
        self.num_scale_outs = 0  # in which anything had to be loaded
        self.arrivals: deque[float] = deque()
        self.paces = Paces()
        self.pipelines = Pipelines(
            deployment, system, self.router, self.paces, stock, switching, send, log
        )
        self._stock = stock
        self._switching = switching
        self._send = send
        self._log = log
        self._growth_of: dict[int, Growth] = {}  # instance → the scale-out it came by
        self.losses = Losses(
            self.model, self.router, self.pipelines, self.growths, self._growth_of, stock
        )

    @property
    def num_instances(self) -> int:
        """How many instances it has, loading or serving, and is to keep."""
        return len(self._growth_of) - self.pipelines.num_draining

    @property
    def scaling(self) -> bool:
        """Is any instance still loading?"""
        return any(not growth.formation.settled for growth in self.growths.values())

    @property
    def awake(self) -> bool:
        """Is anything here, or expected: work, instances, scale-outs, arrivals that still count?"""
        return bool(self._growth_of or self.growths or self.arrivals or not self.router.idle)

    @property
    def changes_by_itself(self) -> bool:
        """May time alone change what is wanted: is an instance idle, or do arrivals grow old?"""
        return bool(self.arrivals or self.pipelines.idle_for_s)

    @property
    def over(self) -> bool:
        """Is nothing waiting, being served or growing?"""
        return self.router.idle and not self.growths

    def submit(self, request: Request) -> None:
        """Take a request in; raises OverloadedError."""
        self.router.enqueue(Work(request, since_s=now()))
        self.arrivals.append(now())
        self.dispatch()

    def cancel(self, request: int) -> None:
        """Forget a request, wherever it is."""
        server = self.router.cancel(request)
        if server is not None:
            self._send(server.head, m.Cancel(server.pipeline, request))
            self.pipelines.note_idle(self.pipelines.served[server.pipeline])
        self.paces.forget(request)
        self._settled(request)

    def dispatch(self) -> None:
        """Send waiting requests to whoever has room."""
        for server, work in self.router.dispatch():
            self.paces.begun(work.request.id)
            submit = m.Submit(server.pipeline, work.request, tuple(work.generated))
            self._send(server.head, submit)

    def begin(self, growth: Growth) -> None:
        """A scale-out has begun: its members are assigned to this model."""
        self.growths[growth.number] = growth
        self.num_scale_outs += bool(growth.plan.groups)
        self._growth_of.update(dict.fromkeys(growth.plan.members, growth))

    def mourn(self) -> None:
        """Nothing that has to do with lost nodes is under way: survivors are free for others."""
        requests, pipelines = self.losses.settle()
        self.pipelines.settle()
        for request in requests:
            self._switching.resumed(self, request)
        for pipeline, growth in pipelines.items():
            self.free(growth, pipeline, ())

    def fail(self) -> list[int]:
        """No copy of the model is left: give up all requests, and return them."""
        given_up = list(self.router.waiting)
        for request in given_up:
            self.cancel(request)
            self._log.add(FailedRecord(request, self.model, self._log.since()))
        return given_up

    def cover(self, coverage: m.Coverage) -> bool:
        """Blocks have arrived on a member's GPU; True if who serves has changed."""
        if not self.has(coverage.node):
            return False
        growth = self.growth_of(coverage.node)
        growth.arrived(coverage.node, [a.block for a in coverage.arrivals], self._send)
        if growth.formation.covered:
            self._log.phase("covered")
        if growth.formation.complete:
            self._log.phase("complete")
            self._unpin(growth)
        return self.reshape(growth)

    def has(self, node: int) -> bool:
        """Does `node` work for this model?"""
        return self._stock.slices[self.model].instance(node) in self._growth_of

    def growth_of(self, node: int) -> Growth:
        """Return the scale-out by which `node` came to this model."""
        return self._growth_of[self._stock.slices[self.model].instance(node)]

    def _unpin(self, growth: Growth) -> None:
        """Everything has been sent: sources may leave their tiers again."""
        pinned, growth.pinned = growth.pinned, []
        self._stock.unpin_all(self.model, pinned)

    def reshape(self, growth: Growth) -> bool:
        """Mode-switch complete members, and form the pipelines that have become possible; True if any."""
        changes = growth.formation.decide()
        for pipeline in changes.leaving:
            self.pipelines.dissolve(self.pipelines.served[pipeline])
        for replica in changes.replicas:
            self.pipelines.form(replica, growth, replica.head)
            if replica.head not in growth.plan.whole:
                self._stock.loaded(replica.head, self.model)
        for formed in changes.pipelines:
            self._log.phase("pipeline formed")
            self.pipelines.form(formed, growth, None)
        if growth.formation.settled:
            self._log.phase("switched")
            growth.phases.reached("switched")
        return changes != NOTHING

    def emit(self, message: m.Tokens) -> bool:
        """A step has produced tokens; True if more than these has changed."""
        served = self.pipelines.served[message.pipeline]
        changed = self._first_token(served)
        server = self.router.server(message.pipeline)
        server.step_s = self.paces.stepped(message.pipeline, message.times, server.whole)
        for output in message.outputs:
            if self.router.extend(message.pipeline, output.request, output.tokens, output.last):
                self._record(output, message.times, served)
            if output.last:
                self.paces.ended(output.request)
            changed |= self._settled(output.request) | output.last
            changed |= self._switching.resumed(self, output.request)
        self.pipelines.note_idle(served)
        return changed

    def _record(self, output: m.Output, times: Sequence[float], served: Served) -> None:
        for i, time_s in enumerate(times):
            position, last = output.position + i, output.last and i + 1 == len(times)
            if not (self._log.every_token or last or position == 0):
                continue
            self._log.add(
                TokenRecord(
                    output.request, position, output.tokens[i], self._log.since(time_s), served.head,
                    served.pipeline, served.record.kind, last,
                )
            )  # fmt: skip

    def _first_token(self, served: Served) -> bool:
        """Note the token; True if it is the first of what a scale-out has brought."""
        growth = served.growth
        if served.instance not in growth.plan.whole:
            self._log.phase("first token of a receiver")
        return served.is_new and growth.phases.reached("first token")

    def cancelled(self, message: m.Cancelled) -> None:
        """A cancelled request has left its slot."""
        if message.pipeline in self.pipelines.served:
            self.router.freed(message.pipeline, message.request)
            self._switching.resumed(self, message.request)
            self.pipelines.note_idle(self.pipelines.served[message.pipeline])

    def dissolved(self, message: m.Dissolved) -> None:
        """A pipeline has stopped: its requests move, its members are free or replicas of their own."""
        served = self.pipelines.dissolved(message)
        if served.instance is not None:
            if self._growth_of.pop(served.instance, None) is not None:
                self._stock.release(served.instance, self.model)
            return
        if self.losses.broke(message.pipeline):
            return
        served.growth.resuming.update(dict.fromkeys(self.router.resumed))
        self._switching.switch(self, served, message)

    def free(self, growth: Growth, pipeline: int, lingering: Sequence[int]) -> None:
        """Members of a dissolved pipeline are free, but for those whose KV entries are still leaving."""
        growth.formation.dissolved(pipeline, lingering)
        self.reshape(growth)
        self.pipelines.entries_left()

    def _settled(self, request: int) -> bool:
        """A request is served, or over; True if it had to move and a scale-out waited for it."""
        waited = [growth for growth in self.growths.values() if request in growth.resuming]
        for growth in waited:
            del growth.resuming[request]
        return bool(waited)

    def conclude(self) -> None:
        """Forget the scale-outs that are over; their sources may leave their tiers again."""
        for growth in list(self.growths.values()):
            if growth.over and not self._awaits_token(growth):
                growth.phases.reached(FULL_SPEED)
                del self.growths[growth.number]
                self._unpin(growth)
                self.paces.grew(now() - growth.begun_s)

    def _awaits_token(self, growth: Growth) -> bool:
        """Has what a scale-out brought been given work, and not answered yet?"""
        return not growth.phases.has("first token") and any(
            self.router.server(pipeline).serving
            for pipeline, served in self.pipelines.served.items()
            if served.growth is growth and served.is_new
        )
