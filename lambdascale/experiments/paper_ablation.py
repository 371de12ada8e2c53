"""The technical report's ablation: the paper's system without what makes a block cheap (paper.md (e)).

packing        off: a block goes as regions of 1 MB, a read after the other; each costs `piece_s`
pre-allocation off: before each block the receiver allocates its size in pieces of 1 MB; each costs `piece_s`
host memory    off: a source whose copy is in host memory first loads all of it into its GPU

The first two keep the ports of both ends busy beyond the block's bytes (`Conditions.occupancy_s`), the third
comes before any block moves (`SystemSpec.setup_s`). The sizes are those of the authors' switches; `piece_s`
is in no record, so it is swept.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.experiments.paper_scale import multicast, nbytes_of, testbed_of, wire_s
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.spec import RunSpec, rate_of
from lambdascale.experiments.systems import system
from lambdascale.multicast.plan import plan
from lambdascale.setup_times import SetupTime

PIECE_NBYTES = 1_000_000  # of the authors' regions and allocations when they switch these off
AS_IT_IS, UNOPTIMISED = "as it is", "none of the three"
OFF = {
    AS_IT_IS: (),
    "no packing": ("packing",),
    "no pre-allocation": ("allocation",),
    "no host-memory RDMA": ("host",),
    UNOPTIMISED: ("packing", "allocation", "host"),
}


def specs(model: str, num_nodes: int, piece_us: Sequence[float]) -> list[RunSpec]:
    """Return the multicast of the paper's system in each configuration, at each cost of a piece (µs)."""
    spec = multicast(system("lambdascale-paper"), model, num_nodes)
    return [
        replace(without(spec, off, us * 1e-6), label=f"{name}, {us:g} µs")
        for us in piece_us
        for name, off in OFF.items()
    ]


def without(spec: RunSpec, off: Collection[str], piece_s: float) -> RunSpec:
    """Return a multicast without what `off` names, at so many seconds for each region or allocation."""
    pieces = math.ceil(nbytes_of(spec.model) / spec.scale.num_blocks / PIECE_NBYTES)
    times = (pieces - 1) * ("packing" in off) + pieces * ("allocation" in off)
    conditions = replace(spec.conditions, occupancy_s=spec.conditions.occupancy_s + times * piece_s)
    setup = (_load_first(spec),) if "host" in off else ()
    return replace(spec, conditions=conditions, system=replace(spec.system, setup_s=setup))


def _load_first(spec: RunSpec) -> SetupTime:
    """The time in which a source brings the model from host memory to its GPU."""
    nbytes = nbytes_of(spec.model)
    pcie_rate = rate_of(testbed_of(spec.model, spec.system.name).pcie_gbps)
    return SetupTime(nbytes, spec.scale.num_nodes, nbytes / pcie_rate)


def table(result: RunResult) -> pd.DataFrame:
    """Return one row per run: `configuration piece_us complete_s block_s wire_s`.

    block_s: of one round of the multicast, so of one block operation and its messages.
    """
    return pd.DataFrame([_row(result.only(s.label), s) for s in result.scale_out_specs])


def _row(one: RunResult, spec: RunSpec) -> dict[str, object]:
    name, _, cost = spec.label.rpartition(", ")
    scale, system = spec.scale, spec.system
    ticks = plan(system.algorithm, scale.num_nodes, 1, scale.num_blocks, system.order).num_ticks
    complete_s = float(one.blocks["verified_s"].max())
    before_s = sum(time.seconds for time in system.setup_s)
    return {
        "configuration": name,
        "piece_us": float(cost.removesuffix(" µs")),
        "complete_s": complete_s,
        "block_s": (complete_s - before_s) / ticks,
        "wire_s": wire_s(spec.model),
    }


def metrics(rows: pd.DataFrame) -> Iterator[Metric]:
    """Seconds of one block operation, and of the whole ÷ those of the system as it is."""
    complete = rows.pivot(index="piece_us", columns="configuration", values="complete_s")
    for what, name in (("unoptimised", UNOPTIMISED), ("optimised", AS_IT_IS)):
        mine = rows.loc[rows["configuration"] == name, "block_s"]
        yield metric(f"tr.ablation.{what}_block_s", mine, "simulated")
    for name in OFF:
        if name != AS_IT_IS:
            ratios = (complete[name] / complete[AS_IT_IS]).to_numpy()
            yield metric(f"tr.ablation.{word(name)}_over_as_it_is", ratios, "simulated")
