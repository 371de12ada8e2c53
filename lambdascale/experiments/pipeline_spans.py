"""What of an observed run is drawn in Figure 6, `panel row start_s end_s kind`, and its metrics."""

from collections.abc import Iterator, Mapping

import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.experiments.paper_pipelines import Observed

COLUMNS = ["panel", "row", "start_s", "end_s", "kind"]
NEAR, FAR = "from a GPU of the host", "over the network"


def names(first: int, stop: int, per_group: int = 1, group: str = "node") -> dict[int, str]:
    """Return node → the name of its row.

    >>> names(4, 6), names(2, 4, 2, "host")
    ({4: 'node 4', 5: 'node 5'}, {2: 'host 1: GPU 0', 3: 'host 1: GPU 1'})
    """
    if per_group == 1:
        return {node: f"{group} {node}" for node in range(first, stop)}
    return {n: f"{group} {n // per_group}: GPU {n % per_group}" for n in range(first, stop)}


def stage_spans(
    runs: Mapping[str, Observed], rows: Mapping[int, str], seconds: float
) -> pd.DataFrame:
    """Return the steps of pipelines in the first `seconds` of each run's first one; a kind is a request.

    `rows`: node → its row; one that executed nothing has a bar of no length.
    """
    parts = [_stages(panel, run, rows, seconds) for panel, run in runs.items()]
    return pd.concat(parts, ignore_index=True)


def _stages(panel: str, run: Observed, rows: Mapping[int, str], seconds: float) -> pd.DataFrame:
    steps = run.in_pipelines()
    begin_s = steps["start_s"].min()
    shown = steps[steps["start_s"] < begin_s + seconds].sort_values(["node", "start_s"])
    slots = sorted(shown["slot"].unique())
    kinds = [f"request {slots.index(slot)}" for slot in shown["slot"]]
    idle = pd.DataFrame({"node": [n for n in rows if n not in set(shown["node"])]})
    idle = idle.assign(start_s=begin_s, end_s=begin_s, kind="request 0")
    bars = pd.concat([shown.assign(kind=kinds), idle]).sort_values(["node", "start_s"])
    named: pd.DataFrame = bars.assign(panel=panel, row=bars["node"].map(rows))[COLUMNS]
    return named


def arrival_spans(run: Observed, rows: Mapping[int, str], per_host: int) -> pd.DataFrame:
    """Return where blocks came from, a bar each, and what a node served as."""
    blocks = run.tables["blocks"].query("origin != 'gpu'").sort_values(["node", "arrived_s"])
    near = blocks["src"] // per_host == blocks["node"] // per_host
    gaps = blocks["arrived_s"].groupby(blocks["node"]).diff().fillna(blocks["arrived_s"])
    width = gaps.clip(upper=gaps.groupby(blocks["node"]).transform("median"))
    arrivals = blocks.assign(
        panel="blocks arrive",
        row=blocks["node"].map(rows),
        start_s=blocks["arrived_s"] - width,
        end_s=blocks["arrived_s"],
        kind=near.map({True: NEAR, False: FAR}),
    )
    end_s = 1.3 * float(arrivals["end_s"].max())
    return pd.concat([arrivals[COLUMNS], _serving(run, rows, end_s)], ignore_index=True)


def _serving(run: Observed, rows: Mapping[int, str], end_s: float) -> pd.DataFrame:
    stages = run.tables["pipelines"]
    stages = stages[(stages["formed_s"] < end_s) & stages["node"].isin(rows)].sort_values("node")
    ids = sorted(stages.loc[stages["kind"] == "pipeline", "pipeline"].unique())
    kinds = [f"pipeline {ids.index(i) + 1}" if i in ids else "replica" for i in stages["pipeline"]]
    return stages.assign(
        panel="nodes serve",
        row=stages["node"].map(rows),
        start_s=stages["formed_s"],
        end_s=stages["dissolved_s"].fillna(end_s).clip(upper=end_s),
        kind=kinds,
    )[COLUMNS]


def pipeline_metrics(runs: Mapping[str, Observed]) -> Iterator[Metric]:
    """How busy the nodes of the first pipeline are while it serves, and its steps per second."""
    for label, run in runs.items():
        steps = run.in_pipelines()
        first = steps[steps["pipeline"] == steps["pipeline"].min()]
        seconds = float(first["end_s"].max() - first["start_s"].min())
        busy = (first["end_s"] - first["start_s"]).sum() / (seconds * first["node"].nunique())
        head = f"fig06.{word(label.partition(':')[0])}"
        yield metric(f"{head}.pipeline_busy", busy, "simulated")
        yield metric(
            f"{head}.pipeline_steps_per_s", (first["first"] == 0).sum() / seconds, "simulated"
        )


def early_metric(name: str, run: Observed) -> Metric:
    """When the first pipeline forms ÷ when the last block is there."""
    complete_s = run.tables["blocks"].query("origin != 'gpu'")["verified_s"].max()
    return metric(
        f"fig06.{name}.formed_over_loaded",
        run.pipelines["formed_s"].min() / complete_s,
        "simulated",
    )


def network_metric(run: Observed, per_host: int) -> Metric:
    """Copies that cross the network ÷ hosts that get the model over it: 1 if blocks come once per host."""
    blocks = run.tables["blocks"].query("origin == 'network'")
    far = blocks[blocks["src"] // per_host != blocks["node"] // per_host]
    hosts = (far["node"] // per_host).nunique()
    return metric(
        "fig06.copies_per_host", len(far) / (hosts * blocks["block"].nunique()), "simulated"
    )
