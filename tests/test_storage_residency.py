"""Residency: who has which model where, who must go, who may stay, and for how long."""

import math

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambdascale.errors import ConfigError
from lambdascale.storage.arena import PAGE
from lambdascale.storage.copies import Eviction, Placed
from lambdascale.storage.residency import Residency
from lambdascale.storage.tiers import Capacity, KeepAlive, Tier

GPU, HOST, SSD = Tier


def residency(gpu: int = 4, host: int = 8, ssd: int = 100, nodes: int = 2) -> Residency:
    """Tiers of so many pages; keep-alive 2 s on the GPU and the paper's on the host."""
    capacity = Capacity(gpu * PAGE, host * PAGE, ssd * PAGE)
    return Residency(dict.fromkeys(range(nodes), capacity), KeepAlive(gpu_s=2.0))


def hold(r: Residency, model: str, now: float, tier: Tier = GPU, node: int = 0, pages: int = 1):
    """Place a copy and complete it at once."""
    placed = r.place(node, tier, model, pages * PAGE, now)
    assert placed is not None
    r.complete(node, tier, model, now)
    return placed


def snapshot(r: Residency, nodes: int = 2):
    return [r.copies(node, tier) for node in range(nodes) for tier in Tier]


def test_copies_are_placed_side_by_side_and_found_again():
    r = residency()
    assert hold(r, "a", 1.0, pages=2) == Placed(0)
    assert hold(r, "b", 2.0) == Placed(2 * PAGE)
    copy = r.copy(0, GPU, "b")
    assert (copy.offset, copy.nbytes, copy.complete, copy.pins) == (2 * PAGE, PAGE, True, 0)
    assert copy.used_s == 2.0
    assert [c.model for c in r.copies(0, GPU)] == ["a", "b"]
    assert r.copy(0, HOST, "b") is None
    assert r.copies(1, GPU) == ()


def test_only_complete_copies_are_held():
    r = residency(nodes=4)
    for node in (3, 1):
        hold(r, "a", 0.0, HOST, node)
    r.place(2, HOST, "a", PAGE, 0.0)
    assert r.holders("a", HOST) == (1, 3)
    assert r.holders("a", GPU) == r.holders("b", HOST) == ()


def test_the_least_recently_used_copies_leave_first_and_no_more_than_needed():
    r = residency()
    for now, model in enumerate("abcd"):
        hold(r, model, now)
    r.touch(0, GPU, "a", 10.0)
    placed = r.place(0, GPU, "e", 2 * PAGE, 11.0)
    gone = (Eviction(0, GPU, "b", PAGE), Eviction(0, GPU, "c", 2 * PAGE))
    assert placed == Placed(PAGE, gone)
    assert [c.model for c in r.copies(0, GPU)] == ["d", "a", "e"]


def test_a_copy_whose_room_would_not_help_stays():
    r = residency()
    for now, (model, pages) in enumerate([("old", 1), ("used", 1), ("large", 2)]):
        hold(r, model, now, pages=pages)
    r.pin(0, GPU, "used")
    assert r.place(0, GPU, "new", 2 * PAGE, 9.0) == Placed(
        2 * PAGE, (Eviction(0, GPU, "large", 2 * PAGE),)
    )
    assert r.copy(0, GPU, "old") is not None


def test_of_copies_used_at_the_same_time_the_one_named_first_leaves():
    r = residency()
    for model in "badc":
        hold(r, model, 5.0)
    r.touch(0, GPU, "b", 5.0)
    assert [c.model for c in r.copies(0, GPU)] == ["a", "d", "c", "b"]


def test_completion_touch_and_the_end_of_a_pin_are_uses():
    r = residency()
    for model in "abc":
        r.place(0, GPU, model, PAGE, 0.0)
    r.complete(0, GPU, "b", 1.0)
    r.complete(0, GPU, "c", 2.0)
    r.complete(0, GPU, "a", 3.0)
    r.pin(0, GPU, "b")
    assert [c.model for c in r.copies(0, GPU)] == ["b", "c", "a"]
    r.unpin(0, GPU, "b", 4.0)
    assert [c.model for c in r.copies(0, GPU)] == ["c", "a", "b"]


def test_a_place_that_fails_changes_nothing():
    r = residency()
    for now, model in enumerate("abc"):
        hold(r, model, now)
    r.pin(0, GPU, "b")
    before = snapshot(r)
    assert r.place(0, GPU, "d", 4 * PAGE, 9.0) is None
    assert r.place(0, GPU, "d", 3 * PAGE, 9.0) is None, "b lies in the middle"
    assert snapshot(r) == before
    r.check_integrity()
    r.unpin(0, GPU, "b", 9.0)
    assert len(r.place(0, GPU, "d", 4 * PAGE, 9.0).evicted) == 3


def test_a_copy_that_is_loading_is_not_evicted_until_it_is_complete():
    r = residency()
    r.place(0, GPU, "a", 4 * PAGE, 0.0)
    assert r.place(0, GPU, "b", PAGE, 1.0) is None
    r.complete(0, GPU, "a", 2.0)
    assert r.place(0, GPU, "b", PAGE, 3.0) == Placed(0, (Eviction(0, GPU, "a", 0),))
    r.abandon(0, GPU, "b")
    assert r.place(0, GPU, "c", 4 * PAGE, 4.0) == Placed(0)


def test_pins_are_counted():
    r = residency()
    hold(r, "a", 0.0, pages=4)
    r.pin(0, GPU, "a")
    r.pin(0, GPU, "a")
    r.unpin(0, GPU, "a", 1.0)
    assert r.place(0, GPU, "b", PAGE, 2.0) is None
    assert r.expired(99.0) == ()
    r.unpin(0, GPU, "a", 3.0)
    assert [copy.model for copy in r.expired(5.0)] == ["a"]
    assert r.place(0, GPU, "b", PAGE, 4.0) is not None


def test_a_keep_alive_ends_per_tier_and_never_on_an_ssd():
    r = residency()
    assert r.next_expiry(0.0) is None
    hold(r, "a", 10.0, SSD)
    assert r.next_expiry(11.0) is None
    hold(r, "a", 10.0, HOST)
    hold(r, "a", 11.0, GPU)
    assert r.next_expiry(11.0) == 13.0
    assert r.expired(12.9) == ()
    assert [(c.tier, c.model) for c in r.expired(13.0)] == [(GPU, "a")]
    r.drop(0, GPU, "a")
    assert r.next_expiry(13.0) == 25.0
    assert r.next_expiry(26.0) == 26.0, "it is over already"
    assert [(c.tier, c.model) for c in r.expired(26.0)] == [(HOST, "a")]


def test_a_shell_that_sleeps_until_the_next_expiry_finds_it():
    r = residency()
    hold(r, "a", 0.1 + 0.2)
    assert r.expired(r.next_expiry(0.0)) == r.copies(0, GPU)


def test_an_infinite_keep_alive_never_ends_and_one_of_nothing_ends_at_once():
    capacity = {0: Capacity(PAGE, PAGE, 0)}
    r = Residency(capacity, KeepAlive(gpu_s=0.0, host_s=math.inf))
    hold(r, "a", 3.0, HOST)
    assert r.next_expiry(1e9) is None
    hold(r, "a", 3.0, GPU)
    assert [c.tier for c in r.expired(3.0)] == [GPU]


def test_a_copy_goes_one_tier_down_unless_it_is_there_or_does_not_fit():
    r = residency(host=2)
    hold(r, "small", 0.0, pages=1)
    hold(r, "large", 0.0, pages=3)
    assert r.demotion(r.copy(0, GPU, "small")) is HOST
    assert r.demotion(r.copy(0, GPU, "large")) is None
    hold(r, "other", 0.0, HOST, pages=2)
    assert r.demotion(r.copy(0, GPU, "small")) is HOST, "others there can make room"
    assert r.demotion(r.copy(0, HOST, "other")) is SSD
    hold(r, "other", 0.0, SSD, pages=2)
    assert r.demotion(r.copy(0, HOST, "other")) is None
    assert r.demotion(r.copy(0, SSD, "other")) is None
    r.drop(0, HOST, "other")
    r.place(0, HOST, "small", PAGE, 1.0)
    assert r.demotion(r.copy(0, GPU, "small")) is None


def test_a_node_that_is_gone_holds_nothing():
    r = residency()
    hold(r, "a", 0.0)
    hold(r, "a", 0.0, node=1)
    r.pin(0, GPU, "a")
    r.lose(0)
    assert r.holders("a", GPU) == (1,)
    with pytest.raises(ConfigError, match="node 0 has no tiers"):
        r.place(0, GPU, "a", PAGE, 1.0)


def test_a_model_larger_than_a_tier_is_refused_with_both_sizes():
    with pytest.raises(ConfigError, match=rf"{5 * PAGE} bytes and the GPU tier .*{4 * PAGE}"):
        residency().place(0, GPU, "a", 5 * PAGE, 0.0)


def test_a_model_as_large_as_a_tier_fits_though_it_is_not_whole_pages():
    r = Residency({0: Capacity(PAGE + 1, 0, 0)}, KeepAlive(0.0))
    assert r.place(0, GPU, "a", PAGE + 1, 0.0) == Placed(0)
    r.check_integrity()


@pytest.mark.parametrize("name", ["gpu", "host", "ssd"])
def test_an_impossible_capacity_is_named(name: str):
    with pytest.raises(ConfigError, match=f"{name} capacity is -1 bytes"):
        Capacity(**{"gpu": 1, "host": 1, "ssd": 1, name: -1})


@pytest.mark.parametrize("name", ["gpu_s", "host_s"])
@pytest.mark.parametrize("bad", [-0.1, math.nan])
def test_an_impossible_keep_alive_is_named(name: str, bad: float):
    with pytest.raises(ConfigError, match=f"{name} is {bad}"):
        KeepAlive(**{"gpu_s": 1.0, name: bad})


def test_what_was_not_done_in_order_is_refused():
    r = residency()
    hold(r, "a", 0.0)
    r.place(0, GPU, "b", PAGE, 0.0)
    r.pin(0, GPU, "a")
    for attempt, message in [
        (lambda: r.place(0, GPU, "a", PAGE, 1.0), "copy of a already"),
        (lambda: r.place(0, GPU, "c", 0, 1.0), "c has 0 bytes"),
        (lambda: r.complete(0, GPU, "a", 1.0), "complete already"),
        (lambda: r.abandon(0, GPU, "a"), "drop it instead"),
        (lambda: r.drop(0, GPU, "b"), "abandon it instead"),
        (lambda: r.drop(0, GPU, "a"), "copy of a in the GPU tier of node 0 is pinned 1 times"),
        (lambda: r.unpin(0, GPU, "b", 1.0), "not pinned"),
        (lambda: r.touch(0, HOST, "a", 1.0), "HOST tier of node 0 has no copy of a"),
        (lambda: r.lose(7), "node 7 has no tiers"),
    ]:
        with pytest.raises(ConfigError, match=message):
            attempt()
    r.check_integrity()


def test_a_tier_can_be_sent():
    assert msgspec.json.decode(msgspec.json.encode(HOST), type=Tier) is HOST


MODELS = st.sampled_from("abcdef")


class Operations(RuleBasedStateMachine):
    """Any order of operations on one tier, beside a model that says what may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.r = residency(gpu=10, nodes=1)
        self.used: dict[str, None] = {}  # in order of use
        self.pins: dict[str, int] = {}
        self.loading: set[str] = set()
        self.now = 0.0

    def later(self) -> float:
        self.now += 1.0
        return self.now

    def use(self, model: str) -> None:
        self.used.pop(model, None)
        self.used[model] = None

    @rule(model=MODELS, pages=st.integers(1, 6))
    def place(self, model: str, pages: int) -> None:
        if model in self.used:
            return
        before = self.r.copies(0, GPU)
        ranges = {c.model: range(c.offset // PAGE, (c.offset + c.nbytes) // PAGE) for c in before}
        idle = [m for m in self.used if not self.pins[m] and m not in self.loading]
        placed = self.r.place(0, GPU, model, pages * PAGE, self.later())
        needed = next((n for n in range(len(idle) + 1) if fits(ranges, idle[:n], pages)), None)
        if needed is None:
            assert placed is None
            assert self.r.copies(0, GPU) == before
            return
        gone = [e.model for e in placed.evicted]
        assert gone == [m for m in idle[:needed] if m in gone], "least recently used first"
        assert gone[-1:] == idle[:needed][-1:], "the last one made the room"
        assert fits(ranges, gone, pages)
        for m in gone:
            del self.used[m], self.pins[m]
        self.use(model)
        self.pins[model] = 0
        self.loading.add(model)

    @precondition(lambda self: self.loading)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(sorted(self.loading)))
        if data.draw(st.booleans()) or self.pins[model]:
            self.r.complete(0, GPU, model, self.later())
            self.use(model)
        else:
            self.r.abandon(0, GPU, model)
            del self.used[model], self.pins[model]
        self.loading.remove(model)

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(sorted(self.used)))
        what = data.draw(st.sampled_from(["pin", "unpin", "touch", "drop"]))
        if what == "pin":
            self.r.pin(0, GPU, model)
            self.pins[model] += 1
        elif what == "unpin" and self.pins[model]:
            self.r.unpin(0, GPU, model, self.later())
            self.pins[model] -= 1
            self.use(model)
        elif what == "touch":
            self.r.touch(0, GPU, model, self.later())
            self.use(model)
        elif what == "drop" and not self.pins[model] and model not in self.loading:
            self.r.drop(0, GPU, model)
            del self.used[model], self.pins[model]

    @invariant()
    def agree(self) -> None:
        self.r.check_integrity()
        copies = self.r.copies(0, GPU)
        assert [c.model for c in copies] == list(self.used)
        assert {c.model: c.pins for c in copies} == self.pins
        assert {c.model for c in copies if not c.complete} == self.loading
        assert {c.model for c in copies if c.idle} == {c.model for c in self.r.expired(math.inf)}


def fits(ranges: dict[str, range], gone: list[str], pages: int) -> bool:
    """Are so many neighbouring pages of ten free without those that are gone?"""
    taken = {page for model, held in ranges.items() if model not in gone for page in held}
    return any(not taken & set(range(low, low + pages)) for low in range(11 - pages))


TestOperations = Operations.TestCase
TestOperations.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_what_is_left_of_a_copy_goes_when_its_room_is_needed_or_its_time_is_over():
    r = residency(gpu=4)
    assert r.find_left(0, GPU, "a", PAGE, 2 * PAGE, 1.0)
    assert not r.find_left(0, GPU, "b", 2 * PAGE, PAGE, 1.0), "its room is taken"
    assert not r.find_left(0, GPU, "a", 3 * PAGE, PAGE, 1.0), "there is one"
    assert r.holders("a", GPU) == ()
    assert [c.model for c in r.expired(3.0)] == ["a"]
    assert r.place(0, GPU, "b", 3 * PAGE, 2.0) == Placed(0, (Eviction(0, GPU, "a", PAGE, False),))
    r.check_integrity()


def test_what_is_left_of_a_copy_is_loaded_on():
    r = residency()
    assert r.find_left(0, GPU, "a", PAGE, PAGE, 1.0)
    r.resume(0, GPU, "a")
    assert not r.copy(0, GPU, "a").idle
    assert r.expired(9.0) == ()
    r.complete(0, GPU, "a", 2.0)
    assert r.holders("a", GPU) == (0,)
    r.check_integrity()


def test_a_node_that_was_lost_is_empty_when_it_is_back():
    r = residency()
    hold(r, "a", 1.0)
    r.lose(0)
    r.enter(0)
    assert r.copies(0, GPU) == ()
    assert hold(r, "b", 1.0) == Placed(0)
    r.check_integrity()
