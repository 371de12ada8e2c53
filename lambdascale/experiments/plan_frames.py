"""Plans as frames that are drawn: every transfer, the key ticks, and the pipelines that form (Figure 5)."""

from collections.abc import Mapping

import pandas as pd

from lambdascale.experiments.plan_report import plan_report
from lambdascale.multicast.bounds import arrivals, joint_tick
from lambdascale.multicast.schedule import Schedule
from lambdascale.pipeline.algorithm2 import planned_sets

Plans = Mapping[str, Schedule]  # by the name of their panel
TICKS = ("num_nodes", "num_sources", "num_blocks", "num_ticks")
MARKS = ("coverage_tick", "pipeline_tick", "lower_bound")


def transfers(plans: Plans) -> pd.DataFrame:
    """Return one row per transfer: `panel tick src dst block`."""
    rows = [(name, *transfer) for name, plan in plans.items() for transfer in plan.transfers]
    return pd.DataFrame(rows, columns=["panel", "tick", "src", "dst", "block"])


def summary(plans: Plans) -> pd.DataFrame:
    """Return one row per plan: its size and its key ticks (see `plan_report`)."""
    rows = []
    for name, plan in plans.items():
        report = plan_report(plan)
        known = {key: value for key, value in report.items() if key in (*TICKS, *MARKS)}
        rows.append({"panel": name, "algorithm": plan.algorithm, **known})
    return pd.DataFrame(rows)


def pipelines(plans: Plans) -> pd.DataFrame:
    """Return one row per member of a pipeline of Algorithm 2: `panel pipeline node tick`.

    tick: the first after which its members hold the model together.
    """
    rows = []
    for name, plan in plans.items():
        arrived = arrivals(plan)
        for number, members in enumerate(planned_sets(plan), start=1):
            tick = joint_tick(arrived, members, plan.num_blocks)
            rows += [(name, f"PP{number}", node, tick) for node in members]
    return pd.DataFrame(rows, columns=["panel", "pipeline", "node", "tick"])


def first_steps(schedule: Schedule, group: int, last: int) -> pd.DataFrame:
    """Return what the members of one sub-group hold before each tick up to `last`, and what they send in it.

    One row per member and tick: `tick position node holds`, and of who sends `block to` (-1: nothing).
    """
    members = schedule.subgroups[group]
    held = {node: set(schedule.held[node]) for node in members}
    rows = []
    for tick in range(1, last + 1):
        sent = [t for t in schedule.transfers if t.tick == tick and t.src in members]
        for position, node in enumerate(members):
            mine = [(t.block, members.index(t.dst)) for t in sent if t.src == node] or [(-1, -1)]
            names = " ".join(map(str, sorted(held[node])))
            rows += [(tick, position, node, names, block, to) for block, to in mine]
        for t in sent:
            held[t.dst].add(t.block)
    return pd.DataFrame(rows, columns=["tick", "position", "node", "holds", "block", "to"])
