"""Placement over random holdings: nearest copies first, every lack has a source, SSD comes last."""

import doctest
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdascale.cluster import placement
from lambdascale.cluster.placement import Member, Origin, Placement, Start, load_orders, place
from lambdascale.errors import ConfigError, NoCopyError
from lambdascale.storage.tiers import Tier

NODES = st.frozensets(st.integers(0, 11))
ALL_TIERS = st.just(frozenset(Tier))
ANY_TIERS = st.frozensets(st.sampled_from(Tier))
RANK = (Start.HOT, Start.WARM, Start.SSD, Start.COLD)


@dataclass(frozen=True)
class Case:
    """The arguments of `place`."""

    count: int
    free: tuple[int, ...]
    gpu: frozenset[int]
    host: frozenset[int]
    ssd: frozenset[int]
    max_sources: int | None
    allowed: frozenset[Tier]

    def place(self) -> Placement:
        return place(
            self.count, self.free, self.gpu, self.host, self.ssd, self.max_sources, self.allowed
        )

    def memory(self) -> set[int]:
        """The nodes that could send from memory."""
        gpu = self.gpu if Tier.GPU in self.allowed else frozenset()
        host = self.host if Tier.HOST in self.allowed else frozenset()
        return {*gpu, *host}


@st.composite
def cases(draw: st.DrawFn, allowed: st.SearchStrategy[frozenset[Tier]] = ALL_TIERS) -> Case:
    free = tuple(draw(st.lists(st.integers(0, 11), unique=True)))
    return Case(
        draw(st.integers(0, len(free))),
        free,
        draw(NODES | st.just(frozenset())),
        draw(NODES | st.just(frozenset())),
        draw(NODES),
        draw(st.none() | st.integers(1, 4)),
        draw(allowed),
    )


def placed(case: Case) -> Placement | None:
    try:
        return case.place()
    except NoCopyError:
        return None


@given(cases(ANY_TIERS))
def test_a_member_starts_from_its_own_nearest_copy(case: Case):
    if plan := placed(case):
        for member in plan.members:
            own = (member.node in case.gpu, member.node in case.host, member.node in case.ssd)
            assert (member.start is Start.HOT) == own[0]
            assert (member.start is Start.WARM) == (own[1] and not own[0])
            if member.start is Start.SSD:
                assert own == (False, False, True)


@given(cases(ANY_TIERS))
def test_the_nodes_taken_are_free_different_and_none_left_would_start_sooner(case: Case):
    if plan := placed(case):
        taken = [member.node for member in plan.members]
        assert len(set(taken)) == len(taken) == case.count
        assert set(taken) <= set(case.free)
        everybody = Case(**{**vars(case), "count": len(case.free)})
        if full := placed(everybody):
            assert full.members[: case.count] == plan.members
            ranks = [RANK.index(member.start) for member in full.members]
            assert ranks == sorted(ranks)


@given(cases(ANY_TIERS))
def test_ssd_is_read_only_if_no_copy_in_memory_can_be_sent(case: Case):
    plan = placed(case)
    if plan and case.memory():
        assert not plan.starting(Start.SSD)
        assert all(origin.tier is not Tier.SSD for origin in plan.sources)


@given(cases(ANY_TIERS))
def test_sources_hold_what_they_send_and_are_as_many_as_can_be_used(case: Case):
    if plan := placed(case):
        holders = (case.gpu, case.host, case.ssd)
        assert all(o.node in holders[o.tier] and o.tier in case.allowed for o in plan.sources)
        assert len({o.node for o in plan.sources}) == len(plan.sources)
        cold = len(plan.starting(Start.COLD))
        if case.memory():
            bound = cold if case.max_sources is None else min(cold, case.max_sources)
            assert len(plan.sources) == min(len(case.memory()), bound)


@given(cases())
def test_only_a_model_that_nobody_holds_cannot_be_placed(case: Case):
    somewhere = case.gpu | case.host | case.ssd
    assert (placed(case) is None) == (case.count > 0 and not somewhere)


@given(cases())
def test_all_members_with_a_file_read_a_share_if_it_is_needed(case: Case):
    plan = placed(case)
    if plan and not case.memory():
        readers = plan.starting(Start.SSD)
        assert readers == tuple(n for n in case.free if n in case.ssd)[: case.count]
        if readers:
            assert sorted(plan.sources, key=lambda o: o.node) == [
                Origin(node, Tier.SSD) for node in sorted(readers)
            ]


@given(st.lists(st.integers(0, 11), unique=True, min_size=1), st.sets(st.integers(20, 25)))
def test_zero_to_n_is_one_to_n_from_another_tier(free: list[int], holders: set[int]):
    holders |= {20}
    one = place(len(free), free, gpu=holders, host=(), ssd=free)
    zero = place(len(free), free, gpu=(), host=holders, ssd=free)
    assert zero.members == one.members
    assert [o.node for o in zero.sources] == [o.node for o in one.sources]
    assert {o.tier for o in zero.sources} == {Tier.HOST}


def test_one_scale_out_may_mix_hot_warm_and_cold_nodes():
    plan = place(6, free=range(1, 8), gpu={0, 5}, host={0, 3, 9}, ssd={6, 7})
    assert plan.members == (
        Member(5, Start.HOT),
        Member(3, Start.WARM),
        *(Member(node, Start.COLD) for node in (1, 2, 4, 6)),
    )
    memory = Origin(0, Tier.GPU), Origin(5, Tier.GPU), Origin(9, Tier.HOST), Origin(3, Tier.HOST)
    assert plan.sources == memory, "a host copy that is being loaded is asked last"


def test_nodes_with_a_file_are_preferred_only_if_the_file_is_needed():
    assert place(1, [1, 2], gpu={0}, host=(), ssd={2}).members == (Member(1, Start.COLD),)
    plan = place(1, [1, 2], gpu=(), host=(), ssd={2})
    assert plan == Placement((Member(2, Start.SSD),), (Origin(2, Tier.SSD),))


def test_members_without_a_file_receive_from_those_that_read():
    plan = place(3, [1, 2, 3], gpu=(), host=(), ssd={3, 1, 8})
    assert plan.starting(Start.SSD) == (1, 3)
    assert plan.starting(Start.COLD) == (2,)
    assert plan.sources == (Origin(1, Tier.SSD), Origin(3, Tier.SSD))


def test_a_busy_node_reads_for_others_if_no_member_has_a_file():
    plan = place(2, [1, 2], gpu=(), host=(), ssd={8})
    assert plan.starting(Start.COLD) == (1, 2)
    assert plan.sources == (Origin(8, Tier.SSD),)


def test_without_any_source_allowed_each_node_is_on_its_own():
    """ServerlessLLM: host memory if it hits, the own SSD if not, never the network."""
    plan = place(3, [1, 2, 3], gpu={0}, host={2}, ssd={1, 2, 3}, sources_allowed=())
    assert plan.members == (Member(2, Start.WARM), Member(1, Start.SSD), Member(3, Start.SSD))
    assert plan.sources == ()
    with pytest.raises(
        NoCopyError, match=r"nodes \(3,\): sources may be none; store it on the SSD"
    ):
        place(3, [1, 2, 3], gpu={0}, host={2}, ssd={1}, sources_allowed=())


def test_without_host_sources_a_scale_from_zero_falls_back_to_ssd():
    """FaaSNet and NCCL: from GPU copies, else SSD."""
    allowed = (Tier.GPU, Tier.SSD)
    plan = place(2, [1, 2], gpu=(), host={9}, ssd={1, 2}, sources_allowed=allowed)
    assert plan.starting(Start.SSD) == (1, 2)


@pytest.mark.parametrize("num_blocks", [1, 2, 7, 8, 16, 17])
@pytest.mark.parametrize("num_loaders", range(1, 18))
def test_shifted_loaders_cover_the_model_after_their_share(num_loaders: int, num_blocks: int):
    orders = load_orders(num_loaders, num_blocks, shifted=True)
    assert all(sorted(order) == list(range(num_blocks)) for order in orders)
    assert all((b - a) % num_blocks in (0, 1) for order in orders for a, b in pairwise(order))
    share = -(-num_blocks // num_loaders)
    covered = {block for order in orders for block in order[:share]}
    assert covered == set(range(num_blocks))


def test_unshifted_loaders_all_begin_with_the_first_block():
    assert load_orders(3, 4, shifted=False) == ((0, 1, 2, 3),) * 3
    assert load_orders(0, 4, shifted=True) == ()


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: place(3, [1, 2], {0}, (), ()), "count is 3, but 2 nodes are free"),
        (lambda: place(-1, [1, 2], {0}, (), ()), "count is -1"),
        (lambda: place(1, [1, 1], {0}, (), ()), r"free is \[1, 1\]; name each node once"),
        (lambda: place(1, [1], {0}, (), (), max_sources=0), "max_sources is 0; allow at least 1"),
        (lambda: load_orders(1, 0, shifted=True), "num_blocks 0"),
        (lambda: load_orders(-1, 4, shifted=True), "num_loaders is -1"),
    ],
)
def test_values_that_cannot_be_are_refused(call: Callable[[], object], why: str):
    with pytest.raises(ConfigError, match=why):
        call()


def test_the_examples_in_the_docstrings_are_true():
    found = doctest.testmod(placement)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize(
    ("sending", "partial", "sources"),
    [
        ({}, [], [0, 1]),
        ({}, [2], [0, 1]),
        ({0: 1}, [2], [1]),
        ({0: 1, 1: 1}, [2], [2]),
        ({0: 2, 1: 1, 2: 1}, [2], [1]),
    ],
)
def test_whole_copies_on_idle_ports_send_and_if_there_is_none_who_sends_least(
    sending: dict[int, int], partial: list[int], sources: list[int]
):
    plan = place(3, [3, 4, 5], {0, 1}, (), (), partial=partial, sending=sending)
    assert [origin.node for origin in plan.sources] == sources
