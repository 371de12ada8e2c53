"""`python -m lambdascale.experiments.faulty_scale_outs CLUSTER`: scale-outs on a cluster, with faults.

Nobody asks for tokens, so that what is timed is the load alone. Prints a JSON object per scale-out, for
`bench_faults`, which made that cluster and shapes its links.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pandas as pd

from lambdascale.config import ScaleSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.clusters import Cluster
from lambdascale.experiments.reaper import Deaths
from lambdascale.experiments.recovery_study import dying
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.systems import system
from lambdascale.fleet.base import Site

NOTHING, RECEIVER, SOURCE, SLOW = "nothing", "a receiver dies", "a source dies", "a slow receiver"
SHAPES = ((1, 5), (2, 6))  # sources, nodes
SLOW_SHAPE = SHAPES[0]  # its last node is the slow one
MOMENTS = (0.25, 0.5, 0.75)  # of the undisturbed time, at which a node is killed


@dataclass(frozen=True, slots=True)
class Seen:
    """One scale-out: seconds from its start until the last node but the dead or slow one is complete.

    `again`: how many blocks arrived at one of those that had had them before.
    """

    sources: int
    nodes: int
    blocks: int
    fault: str
    seconds: float
    again: int
    node: int | None = None
    at: float | None = None


def even(site: Site, spec: RunSpec, turn: int) -> Iterator[Seen]:
    """Run every shape undisturbed, then with a death at each moment; `turn` says whose."""
    for sources, nodes in SHAPES:
        mine = _shaped(spec, sources, nodes)
        healthy = scale_out(site, mine, NOTHING)
        yield healthy
        for number, at in enumerate(MOMENTS, turn):
            receiver = sources + number % (nodes - sources)
            yield scale_out(site, mine, RECEIVER, receiver, at, healthy.seconds)
            if sources > 1:
                yield scale_out(site, mine, SOURCE, number % sources, at, healthy.seconds)


def uneven(site: Site, spec: RunSpec) -> Iterator[Seen]:
    """Run the shape whose last node has a slow link."""
    sources, nodes = SLOW_SHAPE
    yield scale_out(site, _shaped(spec, sources, nodes), SLOW, nodes - 1)


def scale_out(
    site: Site,
    spec: RunSpec,
    fault: str,
    node: int | None = None,
    at: float | None = None,
    healthy_s: float = 0.0,
) -> Seen:
    """Run once; `node` is the slow one, or if there is a moment `at` (of `healthy_s`), killed then.

    Raises ConfigError if it was over by then.
    """
    deaths: Deaths = () if node is None or at is None else ((node, at * healthy_s),)
    result = run(dying(spec, deaths), site=site)
    if deaths and result.losses.empty:
        raise ConfigError(f"the scale-out was over when node {node} was to die; kill it earlier")
    others: pd.DataFrame = result.blocks[result.blocks["node"] != node]
    again = int((others.groupby(["node", "block"]).size() - 1).sum())
    seconds, scale = float(others["verified_s"].max()), spec.scale
    return Seen(
        scale.num_sources, scale.num_nodes, scale.num_blocks, fault, seconds, again, node, at
    )


def _shaped(spec: RunSpec, sources: int, nodes: int) -> RunSpec:
    return replace(spec, scale=replace(spec.scale, num_sources=sources, num_nodes=nodes))


def main() -> None:
    """Run the scale-outs of one turn; with `--slow`, those of the shape that has a slow link."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cluster", type=Path)
    parser.add_argument("--blocks", type=int, nargs="+", required=True)
    parser.add_argument("--turn", type=int, default=0)
    parser.add_argument("--slow", action="store_true")
    arguments = parser.parse_args()
    cluster = Cluster.read(arguments.cluster)
    with agent_site(cluster.file.agents) as site:
        for blocks in arguments.blocks:
            scale = ScaleSpec(*SHAPES[0], num_blocks=blocks)
            spec = cluster.placed(RunSpec(system=system("lambdascale").spec, scale=scale))
            seen = uneven(site, spec) if arguments.slow else even(site, spec, arguments.turn)
            for one in seen:
                print(msgspec.json.encode(one).decode(), flush=True)


if __name__ == "__main__":
    main()
