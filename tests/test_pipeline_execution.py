"""Forming execution pipelines from what has arrived, as the controller does at every coverage change."""

from itertools import pairwise

import pytest

from lambdascale.errors import ConfigError
from lambdascale.model.blocks import BlockMap
from lambdascale.model.layout import ImageLayout
from lambdascale.multicast.bounds import holdings
from lambdascale.multicast.plan import plan
from lambdascale.pipeline.algorithm2 import pipeline_tick, planned_sets
from lambdascale.pipeline.execution import ExecutionPipeline, form, next_pipelines
from lambdascale.pipeline.stages import Stage

NUM_PARTS, BLOCKS = 32, 16  # parts of two cache lines: every block is exactly two parts
LAYOUT = ImageLayout("even", "float32", tuple(128 * p for p in range(NUM_PARTS + 1)), (), True)
MAP = BlockMap.of(LAYOUT, BLOCKS)
COSTS = [1.0] * NUM_PARTS
ALL = range(BLOCKS)


def formed(groups, held, unavailable=()):
    return next_pipelines(groups, held, unavailable, MAP, COSTS)


def members(stages: tuple[Stage, ...]) -> set[int]:
    return {stage.node for stage in stages}


def test_two_halves_form_a_pipeline_of_two_even_stages() -> None:
    assert formed([[2], [3]], {2: range(8), 3: range(8, 16)}) == (
        (Stage(2, 0, 16), Stage(3, 16, 32)),
    )


def test_nothing_forms_while_a_block_is_missing() -> None:
    assert formed([[2], [3]], {2: range(8), 3: range(9, 16)}) == ()
    assert formed([[2], [3]], {2: range(8)}) == ()


def test_a_part_that_straddles_two_blocks_needs_both_on_one_node() -> None:
    uneven = ImageLayout("uneven", "float32", (0, 64, 192, 256), (), True)
    block_map = BlockMap.of(uneven, 2)  # part 1 lies in both blocks
    assert form([2, 3], {2: {0}, 3: {1}}, block_map, [1, 1, 1]) is None
    stages = form([2, 3], {2: {0}, 3: {0, 1}}, block_map, [1, 1, 1])
    assert stages == (Stage(3, 0, 3),)


def test_a_complete_node_is_a_replica_and_no_member() -> None:
    held = {2: ALL, 3: range(8, 16), 4: range(8), 5: ()}
    assert formed([[2, 4], [3, 5]], held) == ((Stage(4, 0, 16), Stage(3, 16, 32)),)


def test_complete_nodes_that_wait_for_others_serve_in_pipelines_meanwhile() -> None:
    held = {2: range(8), 3: ALL}
    assert next_pipelines([[2], [3]], held, (), MAP, COSTS, whole_ones=True) == (
        (Stage(3, 0, 32),),
    ), "it needs nobody else"


def test_a_busy_or_dead_node_is_no_member_and_its_partner_finds_another() -> None:
    held = {2: range(8), 3: range(8, 16), 4: range(8), 5: range(8, 16)}
    assert [members(s) for s in formed([[2, 4], [3, 5]], held)] == [{2, 3}, {4, 5}]
    assert [members(s) for s in formed([[2, 4], [3, 5]], held, {2})] == [{4, 3}]
    assert formed([[2, 4], [3, 5]], held, {2, 4}) == ()


def test_members_left_over_in_one_sub_group_combine_with_each_other() -> None:
    held = {2: range(8), 4: range(8, 16), 3: range(8, 16)}
    assert [members(s) for s in formed([[2, 4], [3]], held, {3})] == [{2, 4}]


@pytest.mark.parametrize(("nodes", "sources"), [(4, 2), (8, 2), (8, 4), (12, 2), (12, 3), (12, 4)])
def test_the_first_pipeline_forms_in_the_planned_tick_when_parts_do_not_straddle(
    nodes: int, sources: int
) -> None:
    schedule = plan("kway", nodes, sources, BLOCKS)
    groups = [group[1:] for group in schedule.subgroups]
    first = pipeline_tick(schedule)
    assert formed(groups, dict(enumerate(holdings(schedule, first - 1)))) == ()
    stages = formed(groups, dict(enumerate(holdings(schedule, first))))
    assert stages
    assert all(
        any(members(s) <= set(planned) for planned in planned_sets(schedule)) for s in stages
    )


@pytest.mark.parametrize(("nodes", "sources"), [(4, 2), (8, 1), (8, 2), (12, 4), (17, 3)])
def test_a_whole_scale_out_keeps_every_node_in_at_most_one_pipeline(
    nodes: int, sources: int
) -> None:
    schedule = plan("kway", nodes, sources, BLOCKS)
    groups = [group[1:] for group in schedule.subgroups]
    serving: list[ExecutionPipeline] = []
    for tick in range(1, schedule.num_ticks + 1):
        held = dict(enumerate(holdings(schedule, tick)))
        serving = [p for p in serving if not any(len(held[n]) == BLOCKS for n in p.members)]
        busy = {n for p in serving for n in p.members}
        for stages in formed(groups, held, busy):
            serving.append(ExecutionPipeline(tick, stages))
            for stage in stages:
                parts = range(stage.first, stage.stop)
                assert MAP.runnable(held[stage.node]).issuperset(parts)
        everyone = [n for p in serving for n in p.members]
        assert len(everyone) == len(set(everyone))
        assert all(n >= sources and len(held[n]) < BLOCKS for n in everyone)
    assert serving == []  # at the end every destination is a replica


def test_a_pipeline_knows_its_members_and_its_head() -> None:
    pipeline = ExecutionPipeline(7, (Stage(4, 0, 2), Stage(2, 2, 3), Stage(4, 3, 5)))
    assert pipeline.members == (4, 2)
    assert pipeline.head == 4
    assert all(a.stop == b.first for a, b in pairwise(pipeline.stages))


@pytest.mark.parametrize(
    "stages", [(), (Stage(1, 1, 2),), (Stage(1, 0, 2), Stage(2, 3, 4)), (Stage(1, 0, 2),) * 2]
)
def test_a_pipeline_with_a_gap_is_refused(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(ConfigError, match="stages of pipeline 1"):
        ExecutionPipeline(1, stages)


def test_costs_for_another_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="one per part"):
        form([2], {2: ALL}, MAP, [1.0] * 3)
