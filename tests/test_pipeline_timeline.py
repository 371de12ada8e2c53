"""Algorithm 2 over arrival times, and that the runtime does what a timeline says."""

import doctest
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import MODEL, Cluster, some_requests, virtual_spec

from lambdascale.cluster.records import BlockRecord, PipelineRecord
from lambdascale.cluster.reporter import COALESCE_S
from lambdascale.errors import ConfigError
from lambdascale.model.blocks import BlockMap
from lambdascale.multicast.plan import plan
from lambdascale.multicast.timing import arrival_times
from lambdascale.pipeline import timeline as module
from lambdascale.pipeline.costs import part_nbytes
from lambdascale.pipeline.formation import Formation
from lambdascale.pipeline.timeline import deltas, timeline

BLOCKS = BlockMap.of(MODEL.layout, 16)
COSTS = part_nbytes(MODEL.layout)
SHAPES = [(1, 2), (1, 4), (2, 4), (2, 5), (2, 8), (3, 7), (4, 8), (4, 6), (1, 8)]
LATENCY_S = 20e-6  # of a message in virtual.Cluster


def ran(cluster: Cluster) -> list[tuple[int, tuple, float]]:
    records = [r for r in cluster.log.records if isinstance(r, PipelineRecord) and r.formed]
    return [(r.pipeline, r.stages, r.time_s) for r in records]


def predicted(schedule, times, dissolve_s=0.0, coalesce_s=0.0):
    return timeline(schedule, schedule.num_sources, times, BLOCKS, COSTS, dissolve_s, coalesce_s)


@pytest.mark.parametrize(("k", "n"), SHAPES)
def test_the_arrivals_of_a_run_give_exactly_its_pipelines(k: int, n: int) -> None:
    cluster = Cluster(virtual_spec(k, n), ())
    cluster.run()
    times = [[0.0] * 16 for _ in range(n)]
    for record in cluster.log.records:
        if isinstance(record, BlockRecord):
            times[record.node][record.block] = record.verified_s
    foretold = predicted(plan("kway", n, k, 16), times, 2 * LATENCY_S, COALESCE_S)
    course = ran(cluster)
    assert [(s.pipeline.id, s.pipeline.stages) for s in foretold.spans] == [c[:2] for c in course]
    for span, (_, _, time_s) in zip(foretold.spans, course, strict=True):
        late = 0.0 if time_s == 0 else LATENCY_S  # the report's way to the controller
        assert time_s - span.start_s == pytest.approx(late, abs=1e-9)


@pytest.mark.parametrize(("k", "n"), SHAPES)
def test_a_timeline_from_the_plan_alone_foretells_a_run(k: int, n: int) -> None:
    spec = virtual_spec(k, n)
    cluster = Cluster(spec, ())
    cluster.run()
    schedule = plan("kway", n, k, 16)
    times = arrival_times(schedule, spec.rate, MODEL.layout.nbytes / 16, latency_s=LATENCY_S)
    foretold = predicted(schedule, times, 2 * LATENCY_S, COALESCE_S)
    course = ran(cluster)
    # Blocks that arrive within a millisecond of each other may change places. Three members of a
    # sub-group get two blocks in a tick: the plan takes turns at the port, the network shares it.
    block_s = MODEL.layout.nbytes / 16 / spec.rate
    tolerance = block_s if any(len(g) == 3 for g in schedule.subgroups) else 1e-3
    assert sorted(s.start_s for s in foretold.spans) == pytest.approx(
        sorted(time_s for _, _, time_s in course), abs=tolerance
    )
    assert sorted(s.pipeline.members for s in foretold.spans) == sorted(
        tuple(dict.fromkeys(stage.node for stage in stages)) for _, stages, _ in course
    )


def test_requests_delay_dissolution_and_change_no_pipeline() -> None:
    idle, busy = Cluster(virtual_spec(2, 8), ()), Cluster(virtual_spec(2, 8), some_requests(40))
    idle.run()
    busy.run()
    pipelines = [[stages for _, stages, _ in ran(c) if len(stages) > 1] for c in (idle, busy)]
    assert pipelines[0] == pipelines[1]


SMALL = [(n, k, b) for n in (2, 4, 5, 8, 9) for k in (1, 2, 3) if k < n for b in (4, 7, 16)]


@pytest.mark.parametrize(("n", "k", "b"), SMALL)
def test_spans_are_sound_over_the_whole_course(n: int, k: int, b: int) -> None:
    schedule, blocks = plan("kway", n, k, b), BlockMap.of(MODEL.layout, b)
    times = arrival_times(schedule, 1.0, 1.0)
    found = timeline(schedule, k, times, blocks, COSTS, dissolve_s=0.25)
    assert sorted(s.pipeline.head for s in found.replicas) == list(range(n))
    for span in found.pipelines:
        assert span.start_s <= span.leaving_s == span.end_s - 0.25
        assert any(max(times[m]) == span.leaving_s for m in span.pipeline.members)
        for stage in span.pipeline.stages:
            held = {block for block, t in enumerate(times[stage.node]) if t <= span.start_s}
            assert blocks.runnable(held).issuperset(range(stage.first, stage.stop))
    for node in range(k, n):
        mine = sorted((s.start_s, s.end_s) for s in found.spans if node in s.pipeline.members)
        assert all(end <= start for (_, end), (start, _) in pairwise(mine))
        assert mine[-1] == (pytest.approx(max(times[node]), abs=0.25), math.inf)
        assert found.serving(mine[-1][0])


@given(st.lists(st.lists(st.floats(0.1, 9), min_size=4, max_size=4), min_size=4, max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_timeline_exists_for_any_arrival_times(rows: list[list[float]]) -> None:
    schedule, blocks = plan("kway", 5, 1, 4), BlockMap.of(MODEL.layout, 4)
    found = timeline(schedule, 1, [[0.0] * 4, *rows], blocks, COSTS)
    assert sorted(s.pipeline.head for s in found.replicas) == list(range(5))
    starts = [s.start_s for s in found.spans]
    assert starts == sorted(starts)


@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=12), st.floats(0, 3))
def test_reports_name_every_block_once_and_never_before_it_came(
    times: list[float], coalesce_s: float
) -> None:
    reports = list(deltas([times], coalesce_s))
    assert sorted(b for d in reports for b in d.blocks) == list(range(len(times)))
    for report in reports:
        assert all(0 <= report.time_s - times[b] <= coalesce_s + 1e-9 for b in report.blocks)


def test_without_execute_only_replicas_form() -> None:
    schedule = plan("kway", 4, 2, 16)
    groups = [group[1:] for group in schedule.subgroups]
    formation = Formation(groups, range(2), BLOCKS, COSTS, execute=False)
    assert [p.members for p in formation.decide().replicas] == [(0,), (1,)]
    formation.arrived(2, range(8))
    formation.arrived(3, range(8, 16))
    assert formation.decide().pipelines == ()
    assert formation.covered
    assert not formation.complete


def test_times_for_another_schedule_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 rows of 16"):
        predicted(plan("kway", 4, 1, 16), [[0.0] * 16] * 3)


def test_the_examples_in_the_docstrings_are_true() -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
