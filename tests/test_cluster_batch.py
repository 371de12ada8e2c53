"""Continuous batching as state: prefill, decode and resumption are one case."""

import pytest

from lambdascale.cluster.batch import MicroBatch
from lambdascale.workload.request import Request


def served(batch: MicroBatch) -> list[int]:
    return [run.request.id for run in batch.running]


def step(batch: MicroBatch, budget: int = 64):
    """Run one step whose sampled token is always 100 + the position it is for."""
    composed = batch.compose(budget)
    ids = [100 + pick.position for pick in composed.picks]
    return composed, batch.commit(composed, [ids])


def test_a_prompt_is_prefilled_at_once_and_then_decoded_token_by_token():
    batch = MicroBatch(range(4))
    batch.admit(Request(7, (1, 2, 3), max_tokens=2), ())
    composed, tokens = step(batch)
    assert [(c.slot, c.start, c.length, c.emit) for c in composed.chunks] == [(0, 0, 3, True)]
    assert [(t.request, t.position, t.tokens, t.last) for t in tokens] == [(7, 0, (100,), False)]
    composed, tokens = step(batch)
    assert composed.tokens == (100,)
    assert tokens[0].last
    assert len(batch) == 0


def test_a_long_prompt_is_prefilled_in_chunks_and_decodes_are_never_starved():
    batch = MicroBatch(range(4))
    batch.admit(Request(0, (1,), max_tokens=9), ())
    step(batch)
    batch.admit(Request(1, tuple(range(10)), max_tokens=9), ())
    lengths = []
    for _ in range(3):
        composed, _ = step(batch, budget=5)
        assert composed.chunks[0].slot == 0, "the decoding sequence goes first"
        assert sum(c.length for c in composed.chunks) <= 5
        lengths.append(
            (composed.chunks[1].start, composed.chunks[1].length, composed.chunks[1].emit)
        )
    assert lengths == [(0, 4, False), (4, 4, False), (8, 2, True)]


def test_a_resumed_request_recomputes_everything_and_continues_at_its_position():
    batch = MicroBatch(range(1))
    batch.admit(Request(3, (1, 2), max_tokens=5), (100, 101))
    composed, tokens = step(batch)
    assert composed.tokens == (1, 2, 100, 101)
    assert composed.picks[0].position == 2
    assert tokens[0].position == 2


def test_a_stop_token_ends_a_request_and_frees_its_slot_lowest_first():
    batch = MicroBatch(range(2))
    batch.admit(Request(0, (1,), max_tokens=9, stop=(100,)), ())
    batch.admit(Request(1, (1,), max_tokens=9), ())
    assert batch.full
    _, tokens = step(batch)
    assert [t.last for t in tokens] == [True, False]
    batch.admit(Request(2, (5,), max_tokens=9), ())
    composed, _ = step(batch)
    assert {c.slot: c.start for c in composed.chunks} == {0: 0, 1: 1}
    assert served(batch) == [1, 2]


@pytest.mark.parametrize("budget", [1, 2, 3, 7])
def test_no_step_exceeds_its_budget(budget: int):
    batch = MicroBatch(range(3))
    for i in range(3):
        batch.admit(Request(i, tuple(range(1, 6 + i)), max_tokens=3), ())
    seen = 0
    while len(batch):
        composed, tokens = step(batch, budget)
        assert 0 < len(composed.tokens) <= budget
        seen += len(tokens)
    assert seen == 9


def test_a_long_prefill_is_not_starved_by_short_requests_that_keep_coming():
    batch = MicroBatch(range(8))
    batch.admit(Request(0, tuple(range(300)), max_tokens=1), ())
    for count in range(1, 60):
        while not batch.full:
            batch.admit(Request(count, tuple(range(16)), max_tokens=1), ())
        _, tokens = step(batch, budget=64)
        if any(token.request == 0 for token in tokens):
            return
    pytest.fail("the long prompt never got its first token")


def test_more_sequences_than_budget_take_turns():
    batch = MicroBatch(range(10))
    for i in range(10):
        batch.admit(Request(i, (1,), max_tokens=50), ())
    counts = dict.fromkeys(range(10), 0)
    for _ in range(30):
        for token in step(batch, budget=4)[1]:
            counts[token.request] += 1
    assert max(counts.values()) - min(counts.values()) <= 1


def test_prefills_get_at_least_half_of_a_step_and_decodes_go_on_meanwhile():
    batch = MicroBatch(range(9))
    for i in range(8):
        batch.admit(Request(i, (1,), max_tokens=90), ())
    step(batch)
    batch.admit(Request(8, tuple(range(40)), max_tokens=1), ())
    composed, _ = step(batch, budget=8)
    assert [c.length for c in composed.chunks] == [1, 1, 1, 1, 4]


def test_an_adopted_request_goes_on_in_its_slot_and_runs_only_what_has_no_entries():
    batch = MicroBatch(range(4, 8))
    batch.reserve(6)
    batch.resume(Request(3, (1, 2, 3), max_tokens=5), (100, 101), slot=6, computed=4)
    composed, tokens = step(batch)
    assert [(c.slot, c.start, c.length, c.emit) for c in composed.chunks] == [(6, 4, 1, True)]
    assert composed.tokens == (101,)
    assert [(t.request, t.position, t.tokens) for t in tokens] == [(3, 2, (102,))]


def test_a_request_adopted_in_the_middle_of_its_prefill_prefills_the_rest():
    batch = MicroBatch(range(2))
    batch.reserve(1)
    batch.resume(Request(3, tuple(range(10)), max_tokens=2), (), slot=1, computed=4)
    composed, tokens = step(batch, budget=4)
    assert [(c.slot, c.start, c.length, c.emit) for c in composed.chunks] == [(1, 4, 4, False)]
    assert tokens == ()
    composed, tokens = step(batch, budget=4)
    assert composed.tokens == (8, 9)
    assert [t.position for t in tokens] == [0]


def test_the_slot_of_an_adopted_request_is_free_when_it_ends():
    batch = MicroBatch(range(1))
    batch.reserve(0)
    batch.resume(Request(3, (1,), max_tokens=2), (100,), slot=0, computed=1)
    assert batch.full
    _, tokens = step(batch)
    assert tokens[0].last
    assert (len(batch), batch.full) == (0, False)


def test_a_reserved_slot_is_used_by_nobody_until_it_is_released():
    batch = MicroBatch(range(3))
    batch.reserve(0)
    batch.admit(Request(7, (1,), max_tokens=9), ())
    batch.admit(Request(8, (1,), max_tokens=9), ())
    assert [run.slot for run in batch.running] == [1, 2]
    assert batch.full
    batch.release(0)
    assert not batch.full
    batch.admit(Request(9, (1,), max_tokens=9), ())
    assert [run.slot for run in batch.running] == [1, 2, 0]


@pytest.mark.parametrize("slot", [3, 99, 1])
def test_reserving_a_slot_of_others_or_one_that_is_taken_changes_nothing(slot: int):
    batch = MicroBatch(range(3))
    batch.reserve(1)
    batch.reserve(slot)
    batch.release(1)
    for i in range(3):
        batch.admit(Request(i, (1,), max_tokens=9), ())
    assert [run.slot for run in batch.running] == [0, 1, 2]
    assert batch.full


@pytest.mark.parametrize("reserved", range(5))
def test_whatever_is_reserved_the_lowest_free_slot_is_taken_first(reserved: int):
    batch = MicroBatch(range(5))
    batch.reserve(reserved)
    for i in range(4):
        batch.admit(Request(i, (1,), max_tokens=9), ())
    assert [run.slot for run in batch.running] == [s for s in range(5) if s != reserved]


def test_a_cancelled_request_takes_no_further_step_and_its_slot_is_free():
    batch = MicroBatch(range(3))
    for i in range(3):
        batch.admit(Request(i, (1,), max_tokens=9), ())
    step(batch)
    batch.cancel(1)
    assert served(batch) == [0, 2]
    composed, tokens = step(batch)
    assert [c.slot for c in composed.chunks] == [0, 2]
    assert [(t.request, t.position) for t in tokens] == [(0, 1), (2, 1)]
    batch.admit(Request(5, (1,), max_tokens=9), ())
    assert batch.running[-1].slot == 1


def test_cancelling_a_request_that_is_elsewhere_or_over_changes_nothing():
    batch = MicroBatch(range(2))
    batch.admit(Request(0, (1,), max_tokens=1), ())
    batch.admit(Request(1, (1,), max_tokens=9), ())
    step(batch)
    batch.cancel(0)
    batch.cancel(77)
    assert served(batch) == [1]
    batch.admit(Request(2, (1,), max_tokens=9), ())
    assert [run.slot for run in batch.running] == [1, 0]
    assert batch.full


def test_a_request_cancelled_in_its_prefill_leaves_a_slot_that_starts_from_nothing():
    batch = MicroBatch(range(1))
    batch.admit(Request(0, tuple(range(10)), max_tokens=9), ())
    step(batch, budget=4)
    batch.cancel(0)
    assert (len(batch), batch.full) == (0, False)
    assert batch.compose(64).chunks == ()
    batch.admit(Request(1, (7, 8), max_tokens=9), ())
    composed, _ = step(batch)
    assert [(c.slot, c.start, c.length) for c in composed.chunks] == [(0, 0, 2)]


def test_steps_alike_are_counted_on_until_the_first_sequence_comes_to_its_end():
    batch = MicroBatch(range(4))
    batch.admit(Request(0, (1, 2), max_tokens=9), ())
    batch.admit(Request(1, (1,), max_tokens=6), ())
    step(batch)
    assert batch.num_sure(batch.compose(64)) == 5
    composed = batch.compose(64)
    ids = [[10 * pick.request + i for pick in composed.picks] for i in range(5)]
    first, second = sorted(batch.commit(composed, ids), key=lambda output: output.request)
    assert (first.position, first.tokens, first.last) == (1, (0, 1, 2, 3, 4), False)
    assert (second.position, second.tokens, second.last) == (1, (10, 11, 12, 13, 14), True)
    assert [(run.request.id, run.num_pending) for run in batch.running] == [(0, 1)]


def test_no_step_is_sure_while_a_first_token_is_due_or_an_end_may_come_any_time():
    batch = MicroBatch(range(4))
    batch.admit(Request(0, (1,), max_tokens=9), ())
    assert batch.num_sure(batch.compose(64)) == 1, "its first token is news"
    step(batch)
    assert batch.num_sure(batch.compose(64)) == 8
    batch.admit(Request(1, (1,), max_tokens=9, stop=(3,)), ())
    step(batch)
    assert batch.num_sure(batch.compose(64)) == 1
