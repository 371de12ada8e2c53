"""The arena: ranges at pages, first fit, nothing overlaps, nothing leaks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdascale.errors import ConfigError
from lambdascale.storage.arena import PAGE, Arena, IntegrityError


def test_the_first_hole_that_fits_is_taken():
    arena = Arena(10 * PAGE)
    assert [arena.allocate(n * PAGE) for n in (2, 3, 1, 4)] == [0, 2 * PAGE, 5 * PAGE, 6 * PAGE]
    assert not arena.fits(1)
    arena.free(0)
    arena.free(5 * PAGE)
    assert arena.allocate(PAGE) == 0
    assert arena.allocate(2 * PAGE) is None, "two pages are free, but not together"
    assert arena.allocate(1) == PAGE
    assert arena.used == 9 * PAGE


def test_free_neighbours_become_one_hole():
    arena = Arena(6 * PAGE)
    offsets = [arena.allocate(2 * PAGE) for _ in range(3)]
    for offset in (offsets[0], offsets[2], offsets[1]):
        arena.free(offset)
    assert arena.allocate(6 * PAGE) == 0


def test_a_capacity_that_is_not_whole_pages_can_be_used_to_the_last_byte():
    arena = Arena(PAGE + 100)
    assert arena.fits(PAGE + 100)
    assert not arena.fits(PAGE + 101)
    assert arena.allocate(1) == 0
    assert arena.allocate(101) is None
    assert arena.allocate(100) == PAGE
    assert arena.used == PAGE + 100
    arena.check_integrity()


def test_an_arena_of_nothing_holds_nothing():
    arena = Arena(0)
    assert arena.allocate(1) is None
    arena.check_integrity()


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="arena has -1 bytes"):
        Arena(-1)
    with pytest.raises(ConfigError, match="cannot allocate 0 bytes"):
        Arena(PAGE).allocate(0)
    with pytest.raises(ConfigError, match="nothing is allocated at offset 5"):
        Arena(PAGE).free(5)


def test_a_range_is_taken_where_it_is_wanted_or_not_at_all():
    arena = Arena(4 * PAGE + 10)
    assert arena.take(PAGE, PAGE + 1)
    assert [tuple(span) for span in arena.spans] == [(PAGE, 3 * PAGE)]
    assert not arena.take(2 * PAGE, PAGE), "it is taken"
    assert not arena.take(0, PAGE + 1), "it ends in what is taken"
    assert not arena.take(3 * PAGE + 1, 1), "it begins inside a page"
    assert not arena.take(4 * PAGE, 11), "it ends outside"
    assert arena.take(4 * PAGE, 10)
    arena.check_integrity()


def test_a_copy_is_independent():
    arena = Arena(2 * PAGE)
    arena.allocate(PAGE)
    other = arena.copy()
    other.free(0)
    assert (arena.used, other.used) == (PAGE, 0)


@pytest.mark.parametrize(
    ("spans", "what"),
    [
        ({0: 2 * PAGE, PAGE: 2 * PAGE}, "overlap"),
        ({3 * PAGE: 5 * PAGE}, "outside"),
        ({7: PAGE}, "inside a page"),
    ],
)
def test_a_contradiction_is_found(spans: dict[int, int], what: str):
    arena = Arena(4 * PAGE)
    arena._taken = spans
    with pytest.raises(IntegrityError, match=what):
        arena.check_integrity()


@given(
    st.integers(0, 40 * PAGE),
    st.lists(st.one_of(st.integers(1, 12 * PAGE), st.integers(-9, -1)), max_size=40),
)
def test_ranges_never_overlap_and_whatever_fits_is_given(capacity: int, steps: list[int]):
    """A positive step allocates so many bytes, a negative one frees one of the ranges."""
    arena, taken = Arena(capacity), {}
    for step in steps:
        if step > 0:
            fitted = arena.fits(step)
            offset = arena.allocate(step)
            assert (offset is not None) == fitted
            if offset is not None:
                assert all(offset + step <= o or o + n <= offset for o, n in taken.items())
                assert offset % PAGE == 0
                assert offset + step <= capacity
                taken[offset] = step
        elif taken:
            offset = sorted(taken)[step % len(taken)]
            arena.free(offset)
            del taken[offset]
        arena.check_integrity()
        assert sum(taken.values()) <= arena.used <= capacity
    for offset in taken:
        arena.free(offset)
    assert arena.used == 0
    assert capacity == 0 or arena.allocate(capacity) == 0
