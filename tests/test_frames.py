"""The tables of a run hold what its records say, and take time in proportion to them."""

import pandas as pd

from lambdascale.cluster.records import (
    BlockRecord,
    NodeRecord,
    PipelineRecord,
    Record,
    TokenRecord,
)
from lambdascale.experiments.frames import served_by, tables
from lambdascale.pipeline.stages import Stage
from lambdascale.workload.request import Request

PIPELINE, REPLICA = 4, 9
STAGES = (Stage(2, 0, 3), Stage(3, 3, 6))


def token(request: int, position: int, time_s: float, pipeline: int) -> TokenRecord:
    kind = "pipeline" if pipeline == PIPELINE else "replica"
    return TokenRecord(request, position, 7, time_s, 2, pipeline, kind, last=False)


def formed(num_nodes: int = 2) -> list[Record]:
    reports = [NodeRecord(node, 10 + node, 0) for node in range(2, 2 + num_nodes)]
    return [
        PipelineRecord(PIPELINE, "pipeline", STAGES, 0.5, formed=True),
        PipelineRecord(PIPELINE, "pipeline", STAGES, 1.5, formed=False),
        PipelineRecord(REPLICA, "replica", (Stage(2, 0, 6),), 2.0, formed=True),
        *reports,
    ]


def test_each_request_and_node_gets_what_is_its_own():
    served: list[Record] = [
        token(1, 0, 0.6, PIPELINE),
        token(0, 0, 0.7, PIPELINE),
        token(1, 1, 2.1, REPLICA),
    ]
    blocks: list[Record] = [
        BlockRecord(2, 0, 0, 0.1, 0.2),
        BlockRecord(2, 1, 0, 1.0, 1.9),
        BlockRecord(3, 1, 0, 0.3, 0.4),
    ]
    requests = [Request(i, (1,) * (i + 1), 4, arrival_s=0.25 * i) for i in (1, 0, 2)]
    found = tables("one", [*blocks, *formed(), *served], requests, num_sources=3)
    expected = pd.DataFrame(
        {
            "run": "one",
            "request": [1, 0, 2],
            "prompt_tokens": [2, 1, 3],
            "output_tokens": [2, 1, 0],
            "arrival_s": [0.25, 0.0, 0.5],
            "ttft_s": [0.6 - 0.25, 0.7, None],
            "finished_s": [2.1, 0.7, None],
            "served_by": ["pipeline 2+3 > replica 2", "pipeline 2+3", ""],
            "model": "",
        }
    )
    pd.testing.assert_frame_equal(found["requests"], expected, check_exact=True, check_dtype=False)
    nodes = found["nodes"].set_index("node")
    assert list(nodes["complete_s"]) == [1.9, 0.4]
    assert nodes.loc[2, "switched_s"] == 2.0
    assert pd.isna(nodes.loc[3, "switched_s"])
    assert list(nodes["role"]) == ["source", "destination"]


def test_a_request_served_here_and_there_names_its_servers_in_order():
    tokens = [token(0, 0, 0.1, PIPELINE), token(0, 1, 0.2, PIPELINE), token(0, 2, 0.3, REPLICA)]
    assert served_by(tokens, formed()) == ["pipeline 2+3", "replica 2"]
    assert served_by([], formed()) == []


class Counted(list[Record]):
    """Records that count how often somebody goes through them."""

    passes = 0

    def __iter__(self):
        Counted.passes += 1
        return super().__iter__()


def test_five_thousand_requests_are_gone_through_a_few_times_not_five_thousand_times():
    requests = [Request(i, (1, 2), 4) for i in range(5000)]
    served = [token(r.id, i, 1.0 + i, PIPELINE) for i in range(4) for r in requests]
    records = Counted([*formed(num_nodes=500), *served])
    found = tables("many", records, requests, num_sources=2)
    assert Counted.passes < 20
    assert list(found["requests"]["output_tokens"]) == [4] * 5000
    assert set(found["requests"]["served_by"]) == {"pipeline 2+3"}
    assert len(found["tokens"]) == 20_000
