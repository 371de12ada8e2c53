"""The records of a run as tidy tables: the columns of every CSV and figure (METHODOLOGY.md)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

import pandas as pd

from lambdascale.cluster.records import (
    BlockRecord,
    NodeRecord,
    PhaseRecord,
    PipelineRecord,
    Record,
    TokenRecord,
)
from lambdascale.experiments.serverless_frames import plain_rows, serverless_rows
from lambdascale.pipeline.stages import Stage
from lambdascale.workload.request import Request

Stages = Mapping[int, tuple[Stage, ...]]  # of each pipeline

COLUMNS = {
    "blocks": (
        "run:str node:int block:int src:int arrived_s:float verified_s:float model:str origin:str"
    ),
    "tokens": (
        "run:str request:int position:int token:int time_s:float node:int pipeline:int kind:str"
    ),
    "requests": (
        "run:str request:int prompt_tokens:int output_tokens:int arrival_s:float ttft_s:float "
        "finished_s:float served_by:str model:str"
    ),
    "nodes": ("run:str node:int role:str complete_s:float switched_s:float steps:int overruns:int"),
    "pipelines": (
        "run:str pipeline:int kind:str node:int first:int stop:int formed_s:float dissolved_s:float "
        "model:str"
    ),
    "phases": "run:str phase:str start_s:float seconds:float",
    "allocations": "run:str model:str node:int from_s:float until_s:float",
    "scale_outs": "run:str scale_out:int model:str phase:str start_s:float seconds:float",
    "starts": "run:str scale_out:int model:str node:int start:str time_s:float",
    "residency": "run:str model:str node:int tier:str from_s:float until_s:float",
    "switches": (
        "run:str request:int node:int method:str tokens:int recompute_s:float transfer_s:float "
        "time_s:float"
    ),
    "refusals": "run:str request:int model:str time_s:float retry_after_s:float",
    "failures": "run:str request:int model:str time_s:float",
    "losses": "run:str node:int why:str time_s:float planned_s:float num_sends:int",
    "returns": "run:str node:int blocks:int time_s:float",
}


def types(table: str) -> dict[str, str]:
    """Return the columns of a table with their types, in order; a float may be missing (NaN).

    >>> types("phases")
    {'run': 'str', 'phase': 'str', 'start_s': 'float', 'seconds': 'float'}
    """
    columns = (column.partition(":") for column in COLUMNS[table].split())
    return {name: kind for name, _, kind in columns}


def typed(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of `table`, of the same types whether or not there are rows."""
    return frame.reindex(columns=list(types(table))).astype(types(table))


def tables(
    run: str, records: Sequence[Record], requests: Sequence[Request], num_sources: int
) -> dict[str, pd.DataFrame]:
    """Return one table per name in COLUMNS; `run` labels every row."""
    tokens = [r for r in records if isinstance(r, TokenRecord)]
    stages, mine = _stages(records), _by_request(tokens)
    rows = {
        "blocks": plain_rows([r for r in records if isinstance(r, BlockRecord)]),
        "tokens": plain_rows(tokens),
        "requests": [_request(r, mine.get(r.id, ()), stages) for r in requests],
        "nodes": _nodes(records, num_sources),
        "pipelines": _pipelines(records),
        "phases": _phases(records),
        **serverless_rows(records),
    }
    return {
        name: typed(name, pd.DataFrame([{"run": run, **row} for row in rows[name]]))
        for name in COLUMNS
    }


def served_by(tokens: Sequence[TokenRecord], records: Sequence[Record]) -> list[str]:
    """Return who produced a request's tokens over time, e.g. ["pipeline 2+3", "replica 2"]."""
    return _servers(tokens, _stages(records))


def _stages(records: Sequence[Record]) -> Stages:
    return {r.pipeline: r.stages for r in records if isinstance(r, PipelineRecord)}


def _by_request(tokens: Sequence[TokenRecord]) -> Mapping[int, Sequence[TokenRecord]]:
    mine: defaultdict[int, list[TokenRecord]] = defaultdict(list)
    for token in tokens:
        mine[token.request].append(token)
    return mine


def _servers(tokens: Sequence[TokenRecord], stages: Stages) -> list[str]:
    names = []
    for pipeline, group in groupby(tokens, key=lambda t: t.pipeline):
        members = dict.fromkeys(str(stage.node) for stage in stages[pipeline])
        names.append(f"{next(group).kind} {'+'.join(members)}")
    return names


def _request(request: Request, mine: Sequence[TokenRecord], stages: Stages) -> dict[str, object]:
    return {
        "request": request.id,
        "prompt_tokens": len(request.prompt),
        "output_tokens": mine[-1].position + 1 if mine else 0,
        "arrival_s": request.arrival_s,
        "ttft_s": mine[0].time_s - request.arrival_s if mine else None,
        "finished_s": mine[-1].time_s if mine else None,
        "served_by": " > ".join(_servers(mine, stages)),
        "model": request.model,
    }


def _nodes(records: Sequence[Record], num_sources: int) -> list[dict[str, object]]:
    complete: defaultdict[int, float] = defaultdict(float)
    for block in (r for r in records if isinstance(r, BlockRecord)):
        complete[block.node] = max(complete[block.node], block.verified_s)
    replicas: dict[int, float] = {}
    for r in records:
        if isinstance(r, PipelineRecord) and r.formed and r.kind == "replica":
            replicas.setdefault(r.stages[0].node, r.time_s)
    return [
        {
            "node": r.node,
            "role": "source" if r.node < num_sources else "destination",
            "complete_s": complete[r.node],
            "switched_s": replicas.get(r.node),
            "steps": r.steps,
            "overruns": r.overruns,
        }
        for r in records
        if isinstance(r, NodeRecord)
    ]


def _pipelines(records: Sequence[Record]) -> list[dict[str, object]]:
    changes = [r for r in records if isinstance(r, PipelineRecord)]
    dissolved = {r.pipeline: r.time_s for r in changes if not r.formed}
    return [
        {
            **{"pipeline": r.pipeline, "kind": r.kind},
            **{"node": stage.node, "first": stage.first, "stop": stage.stop},
            **{"formed_s": r.time_s, "dissolved_s": dissolved.get(r.pipeline)},
            "model": r.model,
        }
        for r in changes
        if r.formed
        for stage in r.stages
    ]


def _phases(records: Sequence[Record]) -> list[dict[str, object]]:
    """Each phase lasts from the moment the one before it was reached until its own."""
    reached = sorted((r for r in records if isinstance(r, PhaseRecord)), key=lambda r: r.time_s)
    return [
        {"phase": b.phase, "start_s": a.time_s, "seconds": b.time_s - a.time_s}
        for a, b in pairwise(reached)
    ]
