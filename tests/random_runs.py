"""Random serverless runs: models, policies, systems, requests and small disturbances, all from one seed."""

from collections.abc import Sequence
from random import Random

from serverless import MODELS, Serverless, ask, deploy, room

from lambdascale.cluster.records import BlockRecord, Record, TokenRecord
from lambdascale.cluster.tags import GPU
from lambdascale.config import KV_SWITCHES, SOURCES, SystemSpec
from lambdascale.policy import ScalingPolicy
from lambdascale.setup_times import SetupTime
from lambdascale.storage.tiers import Tier

LENGTHS = (1, 10, 40, 90)


def random_policy(draw: Random) -> ScalingPolicy:
    poll_s = draw.choice([0.0, 0.0, 0.5])
    return ScalingPolicy(
        draw.choice(["authors", "concurrency", "predictive"]),
        poll_s=poll_s,
        phase_s=draw.choice([0.0, 0.3]) if poll_s else 0.0,
        min_instances=draw.choice([0, 0, 0, 1]),
        max_instances=draw.choice([None, None, 3]),
        target=draw.choice([0.5, 1.0]),
        idle_s=draw.choice([0.0, 0.3, 2.0]),
        quantum_s=draw.choice([0.5, 3.0]),
        concurrent=draw.random() < 0.7,
    )


def random_system(draw: Random) -> SystemSpec:
    return SystemSpec(
        algorithm=draw.choice(["kway", "kway", "circulant", "chain", "tree"]),
        execute_while_load=draw.random() < 0.85,
        barrier=draw.random() < 0.2,
        window=draw.choice([1, 2, 4]),
        sources=draw.choice(
            [("gpu", "host", "ssd"), ("gpu", "host"), ("gpu",), ("host", "ssd"), ()]
        ),
        shifted_loads=draw.random() < 0.8,
        gpu_keep_alive_s=draw.choice([0.0, 0.5, 3.0, 30.0]),
        host_keep_alive_s=draw.choice([0.0, 1.0, 30.0]),
        demote=draw.random() < 0.8,
        kv_switch=draw.choice(KV_SWITCHES),
        max_queue=draw.choice([None, None, 4]),
        switch=draw.choice(["node", "node", "group"]),
        lock_step=draw.random() < 0.2,
        message_s=draw.choice([0.0, 0.0, 3e-3]),
        hop_messages=draw.choice([0, 0, 2]),
        max_sources=draw.choice([None, None, 1]),
        partial_sources=draw.random() < 0.8,
        setup_s=draw.choice([(), (), (SetupTime(1 << 20, 2, 0.3),)]),
        instant=draw.random() < 0.05,
        copy_to_host=draw.random() < 0.2,
        pinned_hosts=draw.choice([0, 0, 1]),
    )


def random_initial(draw: Random, num_nodes: int, system: SystemSpec) -> dict[int, Tier]:
    """Copies in some memories or on some SSDs; even nodes are where instances of two nodes begin."""
    nodes = draw.sample(range(0, num_nodes - 1, 2), draw.choice([0, 1, 1, num_nodes // 2]))
    tiers = [Tier.HOST, Tier.HOST, Tier.SSD] if system.sources == SOURCES else [Tier.HOST]
    return {node: draw.choice(tiers) for node in nodes}


def random_run(seed: int, lengths: Sequence[int] = LENGTHS) -> Serverless:
    """Return the run of a seed; `lengths` are those that an answer may have, in tokens."""
    draw = Random(seed)
    models = draw.sample("abc", draw.choice([1, 2, 3]))
    num_nodes = draw.choice([2, 3, 4, 6])
    system = random_system(draw)
    deployments = [
        deploy(
            model,
            random_policy(draw),
            random_initial(draw, num_nodes, system),
            num_blocks=draw.choice([5, 12]),
            max_slots=draw.choice([1, 2, 4]),
            nodes_per_instance=draw.choice([1, 1, 1, 2]),
        )
        for model in models
    ]
    burst_s = draw.choice([0.0, 0.0, round(draw.uniform(1, 6), 3)])
    requests = tuple(
        ask(
            i,
            draw.choice(models),
            at=draw.choice(
                [burst_s, burst_s, round(draw.uniform(0, 6), 3), round(draw.uniform(4, 12), 3)]
            ),
            max_tokens=draw.choice(lengths),
            prompt=draw.choice([1, 12, 40]),
            temperature=draw.choice([0.0, 0.7]),
        )
        for i in range(draw.choice([6, 14]))
    )
    in_memory = all(Tier.HOST in d.initial.values() for d in deployments)
    may_lack = in_memory and system.sources[:2] == SOURCES[:2]
    return Serverless(
        deployments,
        requests,
        num_nodes,
        system,
        gpu=draw.choice([room("a"), room("a", "b"), room(*MODELS)]),
        host=draw.choice([room(*models), room(*MODELS)]),
        ssd=0 if may_lack and draw.random() < 0.5 else room(*MODELS),
        load_s=draw.choice([0.1, 1.0]),
        nodes_per_host=draw.choice([1, 1, 2]),
        preconnect=draw.random() < 0.5,
        watch=Disturber(draw),
    )


class Disturber:
    """Cancels some requests when they have some tokens, and slows some links down."""

    def __init__(self, draw: Random) -> None:
        self._draw = Random(draw.random())
        self._cancels = self._draw.choice([0.0, 0.0, 0.02])
        self._slow = self._draw.choice([0.0, 0.05])
        self._corrupt = self._draw.choice([0.0, 0.02])

    def __call__(self, run: Serverless, record: Record) -> None:
        draw = self._draw
        if isinstance(record, BlockRecord) and draw.random() < self._slow:
            run.network.slow(record.node, run.rate / 2)
        spoil = isinstance(record, BlockRecord) and draw.random() < self._corrupt
        if spoil and not run.network._faults:  # many at once would all hit one block
            run.network.corrupt(lambda delivery: delivery.region == GPU)
        if isinstance(record, TokenRecord) and draw.random() < self._cancels:
            request = draw.choice(run.requests).id
            run.later(draw.choice([0.0, 1e-4, 0.02]), lambda: run.cancel(request))
