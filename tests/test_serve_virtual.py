"""Requests that come from outside, in virtual time: right tokens, clients that leave, full queues."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest
from serverless import DEVICE, LATENCY_S, MODELS, NBYTES, deploy, room
from tiny import TinyModel

from lambdascale.cluster.controller import Controller
from lambdascale.cluster.deployment import ClusterSpec
from lambdascale.cluster.records import LossRecord, Record, ReturnRecord, RunLog
from lambdascale.config import SystemSpec
from lambdascale.errors import LambdaScaleError, OverloadedError
from lambdascale.experiments.session import Session
from lambdascale.fleet.base import AgentSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.model.text import Tokenizer
from lambdascale.policy import ScalingPolicy
from lambdascale.serve.backend import Backend, Model
from lambdascale.serve.streams import Streams
from lambdascale.sim import loop
from lambdascale.sim.control import SimControl
from lambdascale.sim.fleet import SimFleet, SimHost
from lambdascale.sim.network import SimNetwork
from lambdascale.sim.reference import reference_tokens
from lambdascale.storage.tiers import Capacity
from lambdascale.workload.request import Request, Sampling

LOAD_S, SSD_S = 0.5, 2.0
RESTART_S = 0.75
MAX_QUEUE = 8

Visit = Callable[[Backend, Model], Awaitable[None]]


@pytest.fixture(scope="module")
def model(tiny_model: TinyModel) -> Model:
    tokenizer = Tokenizer(load_packed(str(tiny_model("llama")), "float32"))
    return Model("a", tokenizer, vocab=1000, max_length=256)


def serve(
    model: Model,
    visit: Visit,
    deaths: Sequence[tuple[float, int]] = (),
    watch: Callable[[Record], None] = lambda _: None,
) -> list[object]:
    """Serve model "a" on four nodes, from none on, while `visit` asks; return the records that were kept.

    Nodes die at the moments that `deaths` has, and come back after RESTART_S.
    """
    rate, capacity = NBYTES / LOAD_S, room("a")
    system = SystemSpec(max_queue=MAX_QUEUE)
    cluster = ClusterSpec(
        4, Capacity(capacity, capacity, capacity), 60.0, True, rate, LATENCY_S, DEVICE,
        restart_s=RESTART_S,
    )  # fmt: skip
    agents = tuple(
        AgentSpec(n, "", "sim", rate, DEVICE, NBYTES / SSD_S, rate) for n in cluster.nodes
    )
    deployment = deploy("a", ScalingPolicy(target=1.0, idle_s=0.5))
    session = Session(system, cluster, (deployment,), (), agents)
    streams = Streams()

    def see(record: Record) -> None:
        streams.see(record)
        watch(record)

    async def die(time_s: float, node: int) -> None:
        await asyncio.sleep(time_s)
        await fleet.kill(node)

    log = RunLog(see, keep=False)

    async def work(controller: Controller) -> None:
        up = asyncio.Event()
        serving = asyncio.ensure_future(controller.serve(up))
        await up.wait()
        async with asyncio.TaskGroup() as group:
            for death in deaths:
                group.create_task(die(*death))
            await visit(Backend({"a": model}, controller, streams), model)
        await asyncio.sleep(3.0)  # idle instances go
        (service,) = controller.services.values()
        assert service.over
        assert not service.pipelines.served, "scaled to zero again"
        controller.stock.residency.check_integrity()
        serving.cancel()
        await asyncio.wait((serving,))

    network, control = SimNetwork(LATENCY_S), SimControl(LATENCY_S)
    fleet = SimFleet(network, control, SimHost())
    loop.run(session.run(control, fleet, log, work))
    return list(log.records)


async def read(backend: Backend, request: Request, after: int | None) -> list[int]:
    """Ask until it is taken in; the tokens, of which a client that leaves reads `after`."""
    model, tokens = backend.models["a"], list[int]()
    while True:
        try:
            asking = backend.ask(model, request.prompt, request.max_tokens, request.sampling)
            break
        except OverloadedError as error:
            await asyncio.sleep(error.retry_after_s)
    with asking.reading():
        while after is None or len(tokens) < after:
            token = await asking.stream.next(60.0)
            assert token is not None
            assert token.position == len(tokens)
            tokens.append(token.token)
            if token.last:
                break
    return tokens


def drawn(model: Model, choose: random.Random) -> list[Request]:
    """Forty requests within six seconds."""
    return [
        Request(
            i,
            tuple(choose.randrange(1000) for _ in range(choose.randint(1, 20))),
            choose.randint(1, 40),
            Sampling(choose.choice((0.0, 1.0)), seed=choose.randint(0, 2)),
            model.tokenizer.stop_ids,
            choose.uniform(0, 6),
            key=0,
        )
        for i in range(40)
    ]


@pytest.mark.parametrize("num_deaths", [0, 4])
@pytest.mark.parametrize("seed", range(6))
def test_everybody_who_stays_gets_the_tokens_of_the_reference(
    model: Model, seed: int, num_deaths: int
):
    choose = random.Random(seed)
    requests = drawn(model, choose)
    deaths = [(choose.uniform(0, 7), choose.randrange(4)) for _ in range(num_deaths)]
    leaving = {r.id: choose.randint(0, 10) for r in requests if choose.random() < 0.3}
    expected = reference_tokens(MODELS["a"], requests)

    async def visit(backend: Backend, _: Model) -> None:
        async def come(request: Request) -> None:
            await asyncio.sleep(request.arrival_s)
            tokens = await read(backend, request, leaving.get(request.id))
            whole = list(expected[request.id])
            assert tokens == whole[: leaving.get(request.id, len(whole))]

        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(come(request))

    seen: list[Record] = []
    assert serve(model, visit, deaths, seen.append) == []
    lost = [record.node for record in seen if isinstance(record, LossRecord)]
    assert lost == [record.node for record in seen if isinstance(record, ReturnRecord)]
    assert bool(lost) == bool(deaths)


def test_the_same_seed_gives_the_same_answer_whoever_asked_before(model: Model):
    async def visit(backend: Backend, model: Model) -> None:
        request = Request(0, (5, 7, 11), 20, Sampling(1.0, seed=3))
        answers = [await read(backend, request, None) for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]
        other = Request(0, (5, 7, 11), 20, Sampling(1.0, seed=4))
        assert await read(backend, other, None) != answers[0]

    serve(model, visit)


def test_a_full_queue_refuses_and_one_that_leaves_it_makes_room(model: Model):
    async def visit(backend: Backend, model: Model) -> None:
        asked = [backend.ask(model, (1, 2), 5, Sampling()) for _ in range(MAX_QUEUE)]
        with pytest.raises(OverloadedError):
            backend.ask(model, (1, 2), 5, Sampling())
        with asked.pop().reading():
            pass  # nobody reads it
        asked.append(backend.ask(model, (1, 2), 5, Sampling()))
        for asking in asked:
            with asking.reading():
                while not asking.stream.over:
                    assert await asking.stream.next(60.0) is not None

    serve(model, visit)


def test_who_waits_is_told_how_much_has_been_loaded(model: Model):
    async def visit(backend: Backend, model: Model) -> None:
        asking, said = backend.ask(model, (1, 2), 5, Sampling()), list[str]()
        with asking.reading():
            while await asking.stream.next(0.25) is None:
                said.append(asking.state())
        shares = [int(text.split()[1]) for text in said]
        assert said[0].startswith("loading ")
        assert shares == sorted(shares)
        assert len(set(shares)) > 3

    serve(model, visit)


def test_when_all_ends_everybody_who_waits_is_told_why(model: Model):
    async def visit(backend: Backend, model: Model) -> None:
        with (asking := backend.ask(model, (1, 2), 5, Sampling())).reading():
            backend.streams.end(LambdaScaleError("the cluster has failed"))
            with pytest.raises(LambdaScaleError, match="the cluster has failed"):
                await asking.stream.next(1.0)
        with pytest.raises(LambdaScaleError, match="the cluster has failed"):
            backend.ask(model, (1, 2), 5, Sampling())
        backend.controller.cancel(asking.request)

    serve(model, visit)
