"""The validator accepts plans and refuses every way in which one can be broken."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lambdascale.errors import ConfigError, ScheduleError
from lambdascale.multicast.bounds import coverage_tick
from lambdascale.multicast.plan import plan
from lambdascale.multicast.schedule import Schedule, Transfer
from lambdascale.multicast.validate import validate

PLAN = plan("kway", 8, 2, 6)
MIDDLE = len(PLAN.transfers) // 2


def with_transfers(*transfers: Transfer) -> Schedule:
    return replace(PLAN, transfers=tuple(sorted(transfers, key=lambda t: t.tick)))


def changed(index: int, **fields: int) -> Schedule:
    transfers = list(PLAN.transfers)
    transfers[index] = transfers[index]._replace(**fields)
    return replace(PLAN, transfers=tuple(transfers))


def tiny(*transfers: tuple[int, int, int, int]) -> Schedule:
    """Nodes 0 (source), 1, 2 and 3; two blocks."""
    moves = tuple(Transfer(*t) for t in transfers)
    return Schedule("binomial", 4, 1, 2, ((0, 1, 2, 3),), moves)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (with_transfers(*PLAN.transfers[:-1]), "node . never gets block"),
        (with_transfers(), "node 2 never gets block 0"),
        (with_transfers(*PLAN.transfers, PLAN.transfers[MIDDLE]), "already has block"),
        (replace(PLAN, transfers=(*PLAN.transfers, PLAN.transfers[0])), "in tick order"),
        (changed(0, tick=0), "in tick order"),
        (changed(0, src=-1), "nodes are 0 to 7"),
        (changed(0, dst=8), "nodes are 0 to 7"),
        (changed(0, block=6), "blocks are 0 to 5"),
        (changed(0, dst=1), "node 1 is a source"),
        (changed(0, src=7), "node 7 does not hold block"),
        (replace(PLAN, subgroups=PLAN.subgroups[:1]), "each of nodes 2 to 7 exactly once"),
        (replace(PLAN, subgroups=((0, 2, 3, 4), (0, 5, 6, 7))), "source of its own"),
        (replace(PLAN, subgroups=((2, 0, 3, 4), (1, 5, 6, 7))), "source of its own"),
        (tiny((1, 0, 1, 0), (1, 1, 2, 0)), "arrives at node 1 only in this tick"),
        (tiny((1, 0, 1, 0), (2, 1, 1, 0)), "node 1 already has block 0"),
        (tiny((1, 0, 1, 0), (1, 0, 2, 1)), "node 0 already sends in this tick"),
        (tiny((1, 0, 1, 0), (2, 0, 3, 1), (2, 1, 3, 0)), "node 3 can receive 1 per tick"),
    ],
)
def test_a_broken_schedule_is_refused_with_the_reason(broken: Schedule, why: str) -> None:
    with pytest.raises(ScheduleError, match=why):
        validate(broken)


def test_the_refusal_names_the_transfer() -> None:
    with pytest.raises(
        ScheduleError, match=r"tick 1, node 7 to node \d, block \d: node 7 does not"
    ):
        validate(changed(0, src=7))


def test_two_receives_per_tick_are_allowed_only_where_members_are_not_a_power_of_two() -> None:
    schedule = plan("binomial", 7, 1, 8)
    receives = [(t.tick, t.dst) for t in schedule.transfers]
    assert len(set(receives)) < len(receives)
    validate(schedule)
    even = plan("binomial", 8, 1, 8)
    assert len({(t.tick, t.dst) for t in even.transfers}) == len(even.transfers)


def test_an_unknown_algorithm_has_no_port_limit_to_check() -> None:
    with pytest.raises(ConfigError, match="algorithm 'magic' is unknown"):
        validate(replace(PLAN, algorithm="magic"))


def test_coverage_of_an_incomplete_schedule_is_refused_not_guessed() -> None:
    with pytest.raises(ScheduleError, match="block 0 reaches none of the nodes"):
        coverage_tick(with_transfers())


Mutation = Callable[[list[Transfer], int, int], list[Transfer]]


def drop(transfers: list[Transfer], i: int, j: int) -> list[Transfer]:
    return [t for at, t in enumerate(transfers) if at != i]


def duplicate(transfers: list[Transfer], i: int, j: int) -> list[Transfer]:
    return [*transfers, transfers[i]._replace(tick=transfers[j].tick)]


def swap_ticks(transfers: list[Transfer], i: int, j: int) -> list[Transfer]:
    """The source's first transfer and a relay of its block change places in time."""
    a, b = transfers[i], transfers[j]
    transfers[i], transfers[j] = a._replace(tick=b.tick), b._replace(tick=a.tick)
    return transfers


def retarget(transfers: list[Transfer], i: int, j: int) -> list[Transfer]:
    transfers[i] = transfers[i]._replace(dst=transfers[j].dst)
    return transfers


def first_relay(schedule: Schedule) -> Transfer:
    """The first transfer whose sender is not a source."""
    return next(t for t in schedule.transfers if t.src >= schedule.num_sources)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(3, 12), st.integers(1, 8), st.sampled_from([drop, duplicate, retarget]), st.data()
)
def test_any_dropped_duplicated_or_misdirected_transfer_is_noticed(
    nodes: int, blocks: int, mutate: Mutation, data: st.DataObject
) -> None:
    sources = data.draw(st.integers(1, min(nodes - 1, blocks)))
    schedule = plan("kway", nodes, sources, blocks)
    at = st.integers(0, len(schedule.transfers) - 1)
    moves = mutate(list(schedule.transfers), data.draw(at), data.draw(at))
    moves.sort(key=lambda t: t.tick)
    assume(tuple(moves) != schedule.transfers)
    with pytest.raises(ScheduleError):
        validate(replace(schedule, transfers=tuple(moves)))


@given(st.integers(4, 16), st.integers(1, 8))
def test_a_block_passed_on_before_it_has_arrived_is_noticed(nodes: int, blocks: int) -> None:
    schedule = plan("binomial", nodes, 1, blocks)
    relay = first_relay(schedule)
    arrival = next(t for t in schedule.transfers if (t.dst, t.block) == (relay.src, relay.block))
    places = [schedule.transfers.index(t) for t in (arrival, relay)]
    moves = swap_ticks(list(schedule.transfers), *places)
    moves.sort(key=lambda t: t.tick)
    with pytest.raises(ScheduleError):
        validate(replace(schedule, transfers=tuple(moves)))
