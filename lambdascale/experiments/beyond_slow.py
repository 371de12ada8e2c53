"""A scale-out in which one receiver is slow: when others are complete and first serve (beyond the paper).

The slow receiver's links, tiers and device take FACTOR times as long (`Conditions.stragglers`). No system
knows of it beforehand. Ours finds it and passes it by, if the plan lets it relay (decision 0015); all others
follow the schedule that they would follow anyway. What a schedule could do that does know,
`multicast.weighted`, is predicted by the rules that the agents run by.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.experiments.cached import Case
from lambdascale.experiments.paper_scale import stress, wire_s
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.spec import rate_of
from lambdascale.experiments.systems import system
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.model.packed import PackedModel
from lambdascale.multicast.plan import plan
from lambdascale.multicast.schedule import Schedule
from lambdascale.multicast.timing import arrival_times
from lambdascale.multicast.weighted import weighted
from lambdascale.sim.models import simulated_model

SYSTEMS = ("lambdascale-paper", "lambdascale", "blitzscale", "star")
EVEN = -1  # no receiver is slow
FACTOR = 4.0  # of the slow receiver's times
PLANNED = {"lambdascale": "circulant, predicted", "weighted": "weighted, predicted"}


def slow_ones(num_receivers: int, count: int) -> tuple[int, ...]:
    """Return `count` receivers spread evenly, the middle one if it is one; node 0 is the source.

    >>> slow_ones(8, 1), slow_ones(8, 4)
    ((4,), (2, 4, 6, 8))
    """
    return tuple(round((2 * i + 1) * num_receivers / (2 * count) + 0.5) for i in range(count))


def cases(
    model: str, receivers: Sequence[int], positions: int, systems: Sequence[str] = SYSTEMS
) -> list[Case]:
    """Return the stress test of every system, with no receiver slow and with each of some."""
    return [
        _case(name, model, count, slow)
        for count in receivers
        for name in systems
        for slow in (EVEN, *slow_ones(count, positions))
    ]


def _case(name: str, model: str, num_receivers: int, slow: int) -> Case:
    spec, rows = stress(system(name), model, num_receivers + 1, in_gpu=1)
    stragglers = () if slow == EVEN else ((slow, FACTOR),)
    conditions = replace(spec.conditions, stragglers=stragglers)
    label = f"{num_receivers} receivers, {name}, slow {slow}"
    return replace(spec, conditions=conditions, label=label), rows


def receivers_table(result: RunResult) -> pd.DataFrame:
    """Return a row per run and receiver: `receivers system slow node is_slow complete_s serves_s wire_s`.

    serves: the first token that it, or a pipeline it belongs to, has made.
    """
    rows = [_receivers(result, s) for s in result.specs if isinstance(s, TraceSpec)]
    return pd.concat(rows, ignore_index=True)


def _receivers(result: RunResult, spec: TraceSpec) -> pd.DataFrame:
    one = result.only(spec.label)
    arrived = one.blocks[one.blocks["origin"] == "network"]
    first = one.tokens.groupby("pipeline")["time_s"].min().rename("serves_s")
    serves = one.pipelines.join(first, on="pipeline").groupby("node")["serves_s"].min()
    complete = arrived.groupby("node")["verified_s"].max().rename("complete_s")
    table = pd.concat([complete, serves], axis=1).reindex(range(1, spec.num_nodes))
    slow = spec.conditions.stragglers[0][0] if spec.conditions.stragglers else EVEN
    return _labelled(table, spec.system.name, slow, spec.models[0])


def _labelled(table: pd.DataFrame, name: str, slow: int, model: str) -> pd.DataFrame:
    table = table.rename_axis("node").reset_index()
    table.insert(0, "slow", slow)
    table.insert(0, "system", name)
    table.insert(0, "receivers", len(table))
    return table.assign(is_slow=table["node"] == slow, wire_s=wire_s(model))


def planned_table(model: str, receivers: Sequence[int], positions: int) -> pd.DataFrame:
    """Return the same rows, predicted: our schedule as it is, and the one that knows of the slow node."""
    packed = simulated_model(model, "float16")
    rows = [
        _planned(name, packed, count, slow)
        for count in receivers
        for slow in (EVEN, *slow_ones(count, positions))
        for name in PLANNED
    ]
    return pd.concat(rows, ignore_index=True)


def _planned(name: str, packed: PackedModel, num_receivers: int, slow: int) -> pd.DataFrame:
    spec, _ = _case("lambdascale", packed.layout.model, num_receivers, slow)
    full = rate_of(spec.link_gbps)
    rates = [full / FACTOR if node == slow else full for node in range(spec.num_nodes)]
    blocks = spec.num_blocks
    schedule: Schedule = (
        weighted(rates, 1, blocks)
        if name == "weighted"
        else plan(spec.system.algorithm, spec.num_nodes, 1, blocks, spec.system.order)
    )
    block, latency_s = packed.layout.nbytes / blocks, spec.conditions.latency_s
    times = arrival_times(schedule, rates, block, 0.0, latency_s, spec.system.window)
    complete = pd.Series([max(own) for own in times], name="complete_s")
    table = complete.to_frame().assign(serves_s=float("nan")).loc[1:]
    return _labelled(table, PLANNED[name], slow, packed.layout.model)


def joined(measured: pd.DataFrame, planned: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of runs and predictions together; a prediction tells no time of a first token."""
    return pd.concat([measured, planned], ignore_index=True)


def fast(table: pd.DataFrame) -> pd.DataFrame:
    """Return `receivers system even slow last serves slow_one`: fast receivers, in units of bytes ÷ wire.

    even: the last is complete if none is slow; then over all slow positions the median of the median fast one
    and of the last; serves: when the median fast one first serves; slow_one: when the slow one is complete.
    """
    ratios = table.assign(
        complete=table["complete_s"] / table["wire_s"], serves=table["serves_s"] / table["wire_s"]
    )
    keys = ["receivers", "system"]
    even = ratios[ratios["slow"] == EVEN].groupby(keys, sort=False)["complete"].max()
    slowed = ratios[ratios["slow"] != EVEN]
    each = slowed[~slowed["is_slow"]].groupby([*keys, "slow"], sort=False)
    middle = each[["complete", "serves"]].median().groupby(keys, sort=False).median()
    last = each["complete"].max().groupby(keys, sort=False).median()
    ones = slowed[slowed["is_slow"]].groupby(keys, sort=False)["complete"].median()
    columns = {
        "even": even, "slow": middle["complete"], "last": last,
        "serves": middle["serves"], "slow_one": ones,
    }  # fmt: skip
    return pd.DataFrame(columns).reset_index()


def metrics(table: pd.DataFrame) -> Iterator[Metric]:
    """How much later than without a slow one the last fast receiver is complete, at each slow position."""
    last = table[~table["is_slow"]].groupby(["receivers", "system", "slow"])["complete_s"].max()
    for receivers, name in table[["receivers", "system"]].drop_duplicates().itertuples(index=False):
        mine = last[receivers, name]
        ratios = mine.drop(EVEN) / mine[EVEN]
        head = f"beyond.slow.{receivers}.{word(name)}"
        yield metric(f"{head}.last_fast_over_even", ratios, "simulated")
