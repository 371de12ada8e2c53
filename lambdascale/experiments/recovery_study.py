"""Scale-outs in which nodes die: what each node holds when, and ours against a restart from zero.

Both are the same agents and schedule; they differ in `SystemSpec.repairs` and in what follows from it. What
is sent again is counted as blocks that arrive at a node that has had them before.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import pandas as pd

from lambdascale.claims.metric import Metric, metric
from lambdascale.experiments import paper_scale
from lambdascale.experiments.reaper import Deaths
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.systems import system
from lambdascale.units import gigabytes

OURS, RESTART = "repair", "restart from zero"
WAYS = (OURS, RESTART)
ROLES = ("source", "receiver")


def dying(spec: RunSpec, deaths: Deaths) -> RunSpec:
    """Return `spec` with agents that are killed: (node, seconds after the start)."""
    return replace(spec, conditions=replace(spec.conditions, deaths=deaths))


def restarting(spec: RunSpec) -> RunSpec:
    """Return `spec` for a system that begins again from nothing when a node dies: it loads, then serves."""
    how = replace(
        spec.system, name=RESTART, repairs=False, execute_while_load=False, switch="group"
    )
    return replace(spec, system=how)


def held(result: RunResult) -> pd.DataFrame:
    """Return the share of the model that each node holds: `run node time_s share`, a row per change."""
    rows = [
        {"run": spec.label, "node": node, "time_s": time_s, "share": share}
        for spec in result.scale_out_specs
        for node, time_s, share in _changes(result.only(spec.label), spec.scale.num_blocks)
    ]
    return pd.DataFrame(rows)


def _changes(one: RunResult, num_blocks: int) -> Iterator[tuple[int, float, float]]:
    """A node begins with nothing, or with everything, whenever it is assigned, and ends with nothing."""
    hot = set(one.starts.loc[one.starts["start"] == "hot", "node"])
    for row in one.allocations.to_dict("records"):
        node, end_s = row["node"], row["until_s"]
        yield node, row["from_s"], float(node in hot)
        mine = one.blocks[(one.blocks["node"] == node) & (one.blocks["src"] != node)]
        times = mine["verified_s"]
        own = times[(times >= row["from_s"]) & ~(times > end_s)].sort_values()
        yield from ((node, time_s, (i + 1) / num_blocks) for i, time_s in enumerate(own))
        if end_s == end_s:
            yield node, end_s, 0.0


def first_tokens(result: RunResult) -> pd.DataFrame:
    """Return when each node was first the head of whoever gave a token: `run node time_s`."""
    first = result.tokens.groupby(["run", "node"], sort=False)["time_s"].min()
    return first.reset_index()


def moved(result: RunResult) -> set[int]:
    """Return the requests that had tokens of a server which a death ended, and the rest of another."""
    ended = result.pipelines.merge(result.losses[["run", "node", "time_s"]], on=["run", "node"])
    broken = set(ended.loc[~(ended["dissolved_s"] < ended["time_s"]), "pipeline"])
    tokens = result.tokens.sort_values(["request", "position"])
    there = tokens.loc[tokens["pipeline"].isin(broken), "request"]
    last = tokens.groupby("request")["pipeline"].last()
    return {request for request in there if last[request] not in broken}


def timeline(result: RunResult) -> tuple[pd.DataFrame, ...]:
    """Return what `figures.recovery` draws."""
    serving = result.pipelines[["run", "kind", "node", "formed_s", "dissolved_s"]]
    return held(result), result.losses, serving, first_tokens(result)


def scale_outs(
    model: str, num_nodes: int, num_sources: int, moments: Sequence[float]
) -> tuple[RunSpec, ...]:
    """Return a scale-out on the paper's testbed, simulated, undisturbed and with a death, each way.

    `moments` are shares of the undisturbed time, at which the first source dies, or the last receiver.
    """
    healthy = replace(
        paper_scale.multicast(system("lambdascale"), model, num_nodes, num_sources), label="healthy"
    )
    end_s = _last_s(run(healthy))
    return (healthy, *_disturbed(healthy, end_s, moments))


def _disturbed(healthy: RunSpec, end_s: float, moments: Iterable[float]) -> Iterator[RunSpec]:
    victims = dict(zip(ROLES, (0, healthy.scale.num_nodes - 1), strict=True))
    for way, (role, node), at in product(WAYS, victims.items(), moments):
        spec = dying(healthy, ((node, at * end_s),))
        yield replace(restarting(spec) if way == RESTART else spec, label=label(way, role, at))


def label(way: str, role: str, at: float) -> str:
    """Return the label of a run.

    >>> label(OURS, "source", 0.5)
    'repair, a source dies at 50%'
    """
    return f"{way}, a {role} dies at {at:.0%}"


def table(result: RunResult, moments: Sequence[float]) -> pd.DataFrame:
    """Return a row per death: `way role at quiet_s complete_s healthy_s resent_gb`.

    quiet_s: from when the death is noticed until what is left is planned anew; resent_gb: what arrived at
    survivors that had had it before.
    """
    healthy_s = _last_s(result.only("healthy"))
    return pd.DataFrame(
        [
            {"way": way, "role": role, "at": at, **_death(result.only(label(way, role, at)))}
            for way, role, at in product(WAYS, ROLES, moments)
        ]
    ).assign(healthy_s=healthy_s)


def _death(one: RunResult) -> dict[str, float]:
    (spec,) = one.scale_out_specs
    loss = one.losses.iloc[0]
    got = one.blocks[one.blocks["node"] != loss["node"]].groupby(["node", "block"]).size()
    nbytes = paper_scale.nbytes_of(spec.model) / spec.scale.num_blocks
    return {
        "quiet_s": loss["planned_s"] - loss["time_s"],
        "complete_s": _last_s(one),
        "resent_gb": gigabytes((got - 1).sum() * nbytes),
    }


def _last_s(one: RunResult) -> float:
    """When the last block was verified: whoever lives to the end is complete."""
    return float(one.blocks["verified_s"].max())


def metrics(rows: pd.DataFrame) -> Iterator[Metric]:
    """How much later the last survivor is complete than if nobody dies, and what is sent again, per death."""
    for way, part in rows.groupby("way", sort=False):
        head = "faults." + ("repair" if way == OURS else "restart")
        ratios = part["complete_s"] / part["healthy_s"]
        yield metric(f"{head}.complete_over_healthy", ratios, "simulated")
        yield metric(f"{head}.resent_gb", part["resent_gb"], "simulated")
