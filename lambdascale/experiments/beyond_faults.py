"""Blocks that arrive changed, in simulated runs, and nodes that die, as planned (beyond the paper).

A share of the writes of blocks is spoiled (`Conditions.corruption`); agents find it by the checksum and the
sender sends the block again. Activations and KV entries carry no checksum and are not hit. A node's death is
predicted by the rules of a multicast: what survivors hold then, and `multicast.repair` of it. The running
cluster first waits for what is in flight, and keeps a repair in step by time (`cluster.recovery`); neither
is predicted here. When a death is noticed is not counted.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from lambdascale.claims.metric import Metric, metric, same_tokens, word
from lambdascale.experiments.cached import Case
from lambdascale.experiments.paper_scale import DTYPE, stress, wire_s
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.simulated import SIZED_ABOVE
from lambdascale.experiments.spec import rate_of
from lambdascale.experiments.systems import system
from lambdascale.experiments.trace_run import load_workload
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.multicast.plan import plan
from lambdascale.multicast.repair import repair
from lambdascale.multicast.schedule import Multicast, Schedule
from lambdascale.multicast.timing import Times, arrival_times
from lambdascale.sim.models import simulated_model
from lambdascale.sim.reference import reference_tokens

SYSTEMS = ("lambdascale-paper", "lambdascale", "faasnet", "star")
OURS = "lambdascale"
SOURCES = (1, 2)
MOMENTS = (0.25, 0.5, 0.75)  # of a multicast, at which a node dies
WAYS = ("repaired", "in_step", "restarted")


def cases(model: str, receivers: int, shares: Sequence[float], num_seeds: int) -> list[Case]:
    """Return the stress test of every system: without corruption, then `num_seeds` times at each share."""
    draws = [(0.0, 0), *((share, seed) for share in shares for seed in range(num_seeds))]
    return [_case(name, model, receivers, *draw) for name in SYSTEMS for draw in draws]


def _case(name: str, model: str, receivers: int, share: float, seed: int) -> Case:
    spec, rows = stress(system(name), model, receivers + 1, in_gpu=1)
    conditions = replace(spec.conditions, corruption=share, seed=seed)
    label = f"{name}, {receivers} receivers, corruption {share:g}, seed {seed}"
    return replace(spec, conditions=conditions, label=label), rows


def corrupted_table(result: RunResult, cases: Sequence[Case]) -> pd.DataFrame:
    """Return a row per run: `receivers system share seed blocks resent right last_s healthy_s`.

    resent: blocks that arrived changed, all sent again; right: share of the requests whose tokens are those
    of an undisturbed engine; last_s: the last receiver is complete; healthy_s: the same without corruption.
    """
    spec, rows = cases[0]
    requests = load_workload(spec, rows).requests
    expected = reference_tokens(simulated_model(spec.models[0], DTYPE), requests, SIZED_ABOVE)
    specs = [s for s in result.specs if isinstance(s, TraceSpec)]
    table = pd.DataFrame([_run(result.only(s.label), s, expected) for s in specs])
    healthy = table[table["share"] == 0].set_index("system")["last_s"]
    return table.assign(healthy_s=table["system"].map(healthy))


def _run(
    one: RunResult, spec: TraceSpec, expected: dict[int, tuple[int, ...]]
) -> dict[str, float | str]:
    arrived = one.blocks[one.blocks["origin"] == "network"]
    right = same_tokens("faults.right", one.outputs(), expected, one.provenance)
    return {
        "receivers": spec.num_nodes - 1, "system": spec.system.name,
        "share": spec.conditions.corruption, "seed": spec.conditions.seed,
        "blocks": len(arrived), "resent": one.num_corrupt, "right": right.values[0],
        "last_s": arrived["verified_s"].max(),
    }  # fmt: skip


def corrupted(table: pd.DataFrame) -> pd.DataFrame:
    """Return `system share blocks resent last_s over_healthy worst right`: means over seeds.

    worst: the largest ratio to healthy; right: the least share of right requests.
    """
    ratios = table.assign(ratio=table["last_s"] / table["healthy_s"])
    each = ratios.groupby(["system", "share"], sort=False)
    columns = {
        "blocks": each["blocks"].first(), "resent": each["resent"].mean(),
        "last_s": each["last_s"].mean(), "over_healthy": each["ratio"].mean(),
        "worst": each["ratio"].max(), "right": each["right"].min(),
    }  # fmt: skip
    return pd.DataFrame(columns).reset_index()


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Our multicast in the stress test: k → N nodes, blocks of so many bytes, and what their writes cost."""

    num_nodes: int
    num_sources: int
    spec: TraceSpec
    block_nbytes: float

    @classmethod
    def of(cls, model: str, num_nodes: int, num_sources: int) -> "_Cluster":
        spec, _ = stress(system(OURS), model, num_nodes, in_gpu=num_sources)
        nbytes = simulated_model(model, DTYPE).layout.nbytes
        return cls(num_nodes, num_sources, spec, nbytes / spec.num_blocks)

    def schedule(self, num_nodes: int, num_sources: int) -> Schedule:
        how = self.spec.system
        return plan(how.algorithm, num_nodes, num_sources, self.spec.num_blocks, how.order)

    def times(self, schedule: Multicast, barrier: bool = False) -> Times:
        """Return times[node][block] in seconds."""
        rate, latency_s = rate_of(self.spec.link_gbps), self.spec.conditions.latency_s
        window = self.spec.system.window
        return arrival_times(schedule, rate, self.block_nbytes, 0.0, latency_s, window, barrier)


def deaths_table(
    model: str, nodes: Sequence[int], sources: Sequence[int] = SOURCES
) -> pd.DataFrame:
    """Return a row per cluster, moment and node that dies then, predicted; seconds from the first write.

    `nodes sources dead role at blocks lost wire_s undisturbed_s`, and until the survivors are complete:
    `repaired_s` as our agents send, without a barrier; `in_step_s` with one, two control messages a tick;
    `restarted_s` by a new multicast from the sources that are left. inf: it cannot be, as blocks are
    `lost` or no source is left.
    """
    clusters = [_Cluster.of(model, num_nodes, k) for num_nodes in nodes for k in sources]
    rows = [row for cluster in clusters for row in _deaths(cluster)]
    return pd.DataFrame(rows).assign(wire_s=wire_s(model))


def _deaths(cluster: _Cluster) -> Iterator[dict[str, float | str]]:
    n, k = cluster.num_nodes, cluster.num_sources
    times = cluster.times(cluster.schedule(n, k))
    end_s = _last(times)
    restart_s = [_restart_s(cluster, left) for left in range(k + 1)]
    for at in MOMENTS:
        held = [{block for block, time in enumerate(own) if time <= at * end_s} for own in times]
        for dead in range(n):
            is_source = dead < k
            yield {
                "nodes": n, "sources": k, "dead": dead,
                "role": "source" if is_source else "receiver", "at": at,
                "blocks": cluster.spec.num_blocks, "undisturbed_s": end_s,
                "restarted_s": at * end_s + restart_s[k - is_source],
                **_repaired(cluster, held, dead, at * end_s),
            }  # fmt: skip


def _repaired(
    cluster: _Cluster, held: Sequence[set[int]], dead: int, death_s: float
) -> dict[str, float]:
    """What is in flight at the moment of death is lost, too: the repair starts from what has arrived."""
    num_blocks = cluster.spec.num_blocks
    alive = set().union(*(blocks for node, blocks in enumerate(held) if node != dead))
    if lost := num_blocks - len(alive):
        return {"lost": lost, "repaired_s": math.inf, "in_step_s": math.inf}
    todo = repair(held, num_blocks, dead=[dead])
    free, step = (
        _last([cluster.times(todo, barrier)[node] for node in todo.survivors])
        for barrier in (False, True)
    )
    step += 2 * cluster.spec.conditions.control_s * todo.num_ticks
    return {"lost": 0, "repaired_s": death_s + free, "in_step_s": death_s + step}


def _restart_s(cluster: _Cluster, sources_left: int) -> float:
    """Seconds of a whole multicast among all but one node."""
    if not sources_left:
        return math.inf
    return _last(cluster.times(cluster.schedule(cluster.num_nodes - 1, sources_left)))


def _last(times: Times) -> float:
    return max(map(max, times))


def deaths(table: pd.DataFrame) -> pd.DataFrame:
    """Return medians in units of bytes ÷ wire: `nodes sources role at lost undisturbed`, `WAYS`, `worst`.

    lost: the most blocks that nobody else has; worst: the latest of those repaired without a barrier.
    """
    names = ["undisturbed", *WAYS]
    ratios = table.assign(**{name: table[f"{name}_s"] / table["wire_s"] for name in names})
    each = ratios.groupby(["nodes", "sources", "role", "at"], sort=False)
    middle, worst = each[names].median(), each["repaired"].max()
    return pd.concat([each["lost"].max(), middle, worst.rename("worst")], axis=1).reset_index()


def metrics(runs: pd.DataFrame, planned: pd.DataFrame) -> Iterator[Metric]:
    """How much later the last is complete than undisturbed, seed by seed or death by death."""
    for receivers, name in runs[["receivers", "system"]].drop_duplicates().itertuples(index=False):
        head = f"beyond.faults.corrupt.{receivers}.{word(name)}"
        yield from _of_runs(head, runs[runs["system"] == name])
    keys = ["nodes", "sources", "role"]
    for nodes, k, role in planned[keys].drop_duplicates().itertuples(index=False):
        mine = planned.query("nodes == @nodes and sources == @k and role == @role")
        yield from _of_deaths(f"beyond.faults.{role}_dies.{nodes}.k{k}", mine)


def _of_runs(head: str, mine: pd.DataFrame) -> Iterator[Metric]:
    for share in sorted(set(mine["share"]) - {0.0}):
        drawn, part = mine[mine["share"] == share], f"{head}.{word(f'{share:g}')}"
        ratios = drawn["last_s"] / drawn["healthy_s"]
        yield metric(f"{part}.last_over_healthy", ratios, "simulated")
        yield metric(f"{part}.resent_blocks", drawn["resent"], "simulated")
    yield metric(f"{head}.tokens_right", mine["right"], "simulated")


def _of_deaths(head: str, mine: pd.DataFrame) -> Iterator[Metric]:
    if mine["lost"].any():
        yield metric(f"{head}.lost_share", mine["lost"] / mine["blocks"], "simulated")
        return
    for way in WAYS:
        ratios = mine[f"{way}_s"] / mine["undisturbed_s"]
        yield metric(f"{head}.{way}_over_undisturbed", ratios, "simulated")
