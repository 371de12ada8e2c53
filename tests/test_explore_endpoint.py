"""What a notebook sees of an endpoint: columns from its metrics, a board, and why a start has failed."""

import pytest

from lambdascale.errors import ModelError
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.explore.endpoint import board_html, gauges, start

METRICS = """# TYPE lambdascale_queue_length gauge
lambdascale_queue_length{model="a"} 3.0
lambdascale_queue_length{model="b"} 1.0
# TYPE lambdascale_replicas gauge
lambdascale_replicas{model="a",tier="gpu"} 2.0
lambdascale_replicas{model="a",tier="ssd"} 4.0
# TYPE lambdascale_output_tokens counter
lambdascale_output_tokens_total{model="a"} 70.0
"""


def test_columns_are_sums_over_models_by_tier():
    assert gauges(METRICS) == {"waiting": 4, "in_flight": 0, "gpu": 2, "host": 0, "tokens": 70}


def test_the_board_tells_the_rate_of_the_last_second():
    rows = [{"time_s": i / 4, **gauges(METRICS), "tokens": 10.0 * i} for i in range(20)]
    assert "tokens/s of answers<br><b>40</b>" in board_html(rows)
    assert "waiting<br><b>4</b>" in board_html(rows[:1])


def test_a_start_that_fails_says_why():
    with pytest.raises(ModelError, match="model 'nobody' is unknown"):
        start(TraceSpec(models=("nobody",)))
