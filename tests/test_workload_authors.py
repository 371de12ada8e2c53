"""The authors' workloads: their request, their sender's compression, constant rate and all at once."""

import doctest

import pytest

from lambdascale.errors import ConfigError
from lambdascale.workload import authors, steady
from lambdascale.workload.steady import at_once, constant
from lambdascale.workload.trace import TraceRow

ROWS = [TraceRow(time_s, 453, 95) for time_s in (0.0, 0.9, 19.162, 1761.594, 1762.827)]


@pytest.mark.parametrize("module", [authors, steady])
def test_the_examples_are_right(module):
    assert doctest.testmod(module).failed == 0


def test_the_sender_reads_whole_seconds_and_never_sends_the_last_request():
    sent = authors.as_sent(ROWS, "llama-2-7b")
    assert [row.arrival_s for row in sent] == [0.0, 0.0, 3.167, 293.5]
    assert {row.model for row in sent} == {"llama-2-7b"}
    assert authors.as_sent(ROWS, "llama-2-70b")[-1].arrival_s == 1174.0


def test_a_model_they_do_not_replay_is_refused():
    with pytest.raises(ConfigError, match="no trace for model 'gpt-4'; use one of llama-2-7b"):
        authors.as_sent(ROWS, "gpt-4")


def test_every_request_of_theirs_is_of_one_shape():
    requests = authors.replay("llama-2-7b").requests(ROWS, {"llama-2-7b": range(9)})
    assert {(len(request.prompt), request.max_tokens) for request in requests} == {(8, 107)}


def test_requests_come_at_a_constant_rate_or_all_at_once():
    rows = constant(50, rate=3.0, model="llama-2-13b")
    assert rows[0] == TraceRow(0.0, 8, 107, "llama-2-13b")
    assert rows[-1].arrival_s == pytest.approx(49 / 3)
    assert {row.arrival_s for row in at_once(50)} == {0.0}
    assert len(at_once(50)) == 50


def test_no_requests_and_no_rate_are_refused():
    with pytest.raises(ConfigError, match="num is 0"):
        at_once(0)
    with pytest.raises(ConfigError, match=r"rate 0\.0"):
        constant(1, 0.0)
