"""Whatever fits the published OpenAPI schema, or nearly does, is answered or refused; never a 5xx."""

from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from serving import KEY, Server, serving
from tiny import TinyModel

HEADERS = {"Authorization": f"Bearer {KEY}"}
EXAMPLES = {GenerationMode.POSITIVE: 30, GenerationMode.NEGATIVE: 40}  # of every operation
ROUTES = {
    *("/v1/completions", "/v1/chat/completions", "/v1/models", "/v1/models/{name}"),
    *("/metrics", "/healthz"),
}
LENGTHS = ("max_tokens", "max_completion_tokens")


@pytest.fixture(scope="module")
def server(tiny_model: TinyModel) -> Iterator[Server]:
    with serving(
        tiny_model("llama"), "--nodes", 1, "--initial-gpu", 1, "--min", 1, "--max-length", 64
    ) as server:
        yield server


@pytest.mark.parametrize("mode", EXAMPLES)
def test_no_request_breaks_the_server(server: Server, mode: GenerationMode):
    schema = schemathesis.openapi.from_url(f"{server.root}/openapi.json", headers=HEADERS)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} == ROUTES
    statuses: Counter[int] = Counter()
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # there is no body to be wrong

        @settings(
            max_examples=EXAMPLES[mode],
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def break_it(case: Case) -> None:
            if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
                case.body["model"] = server.model  # no other could be had
                case.body = {n: _short(v) if n in LENGTHS else v for n, v in case.body.items()}
            response = case.call(headers=HEADERS)
            statuses[response.status_code] += 1
            case.validate_response(response, checks=[not_a_server_error])

        break_it()
    assert statuses[200 if mode is GenerationMode.POSITIVE else 400] > 10, statuses


def _short(length: object) -> object:
    """A length that fits, if it is one at all."""
    return min(length, 4) if isinstance(length, int) else length
