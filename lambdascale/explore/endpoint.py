"""An endpoint behind a notebook: started, asked over HTTP, watched on a board, stopped in the end.

    server = start(spec)              # shows the board
    server.ask("Why is the sky blue?")
    server.burst(questions(16))       # all at once
    server.stop()

It lives in this process, and ends with it if it is not stopped before.
"""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import ipywidgets as w
import pandas as pd
from prometheus_client.parser import text_string_to_metric_families

from lambdascale.errors import DeadlineError
from lambdascale.experiments.endpoint import Served, serve
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.explore.controls import bundle
from lambdascale.serve.limits import Endpoint

START_S, ASK_S, END_S, PERIOD_S = 180.0, 120.0, 30.0, 0.25
GAUGES = {  # column of the history → sample of the metrics, and a label that it has
    "waiting": ("lambdascale_queue_length", ""),
    "in_flight": ("lambdascale_requests_in_flight", ""),
    "gpu": ("lambdascale_replicas", "gpu"),
    "host": ("lambdascale_replicas", "host"),
    "tokens": ("lambdascale_output_tokens_total", ""),
}


class Server:
    """A running endpoint; `history` has one row per look at its metrics."""

    def __init__(self, spec: TraceSpec) -> None:
        self.board = w.HTML("the endpoint is starting")
        self._rows: list[dict[str, float]] = []
        self._up, self._ended = threading.Event(), threading.Event()
        self._served: Served | None = None
        self._error: BaseException | None = None
        self._begun_s = 0.0
        self._thread = threading.Thread(target=self._serve, args=(spec,), daemon=True)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        if not self._up.wait(START_S):
            raise DeadlineError(f"the endpoint did not start within {START_S:g} s")
        if self._error is not None:
            raise self._error
        self._begun_s = time.monotonic()
        self._watcher.start()

    def _serve(self, spec: TraceSpec) -> None:
        try:
            serve(spec, Endpoint(port=0), self._begin)
        except BaseException as error:  # raised where it is asked for next
            self._error = error
        finally:
            self._ended.set()
            self._up.set()

    def _begin(self, served: Served) -> None:
        self._served = served
        self._up.set()

    @property
    def served(self) -> Served:
        """Where it is; raises what ended it."""
        if self._error is not None:
            raise self._error
        assert self._served is not None  # it is up
        return self._served

    @property
    def history(self) -> pd.DataFrame:
        """Return what was seen: `time_s` and the columns of GAUGES."""
        return pd.DataFrame(self._rows)

    def stop(self) -> None:
        """End it and all of its agents; raises what went wrong."""
        self.served.stop()
        for thread in (self._thread, self._watcher):
            thread.join(END_S)
        if self._error is not None:
            raise self._error

    def ask(self, prompt: str, max_tokens: int = 32) -> str:
        """Return the likeliest answer to one question."""
        return "".join(text for text, _ in self._answer(prompt, max_tokens))

    def burst(self, prompts: Sequence[str], max_tokens: int = 32) -> pd.DataFrame:
        """Ask all at once; return one row per question, seconds from now on."""
        with ThreadPoolExecutor(len(prompts)) as pool:
            return pd.DataFrame(list(pool.map(lambda p: self._row(p, max_tokens), prompts)))

    def _row(self, prompt: str, max_tokens: int) -> dict[str, object]:
        begun_s = time.monotonic()
        pieces = list(self._answer(prompt, max_tokens))
        return {
            "prompt": prompt,
            "answer": "".join(text for text, _ in pieces),
            "ttft_s": pieces[0][1] - begun_s,
            "finished_s": pieces[-1][1] - begun_s,
        }

    def _answer(self, prompt: str, max_tokens: int) -> Iterator[tuple[str, float]]:
        """Yield pieces of the answer and when they came."""
        served = self.served
        messages = [{"role": "user", "content": prompt}]
        body = {"model": served.models[0], "messages": messages, "max_tokens": max_tokens}
        asked = json.dumps(body | {"temperature": 0, "stream": True}).encode()
        headers = {"content-type": "application/json"}
        url = f"{served.address}/chat/completions"
        with urlopen(Request(url, asked, headers), timeout=ASK_S) as lines:
            for line in lines:
                if line.startswith(b"data: {"):
                    delta = json.loads(line[len(b"data: ") :])["choices"][0]["delta"]
                    yield delta.get("content", ""), time.monotonic()

    def _watch(self) -> None:
        url = self.served.address.removesuffix("/v1") + "/metrics"
        while not self._ended.wait(PERIOD_S):
            try:
                with urlopen(url, timeout=ASK_S) as response:
                    row = gauges(response.read().decode())
            except OSError:
                return  # it is ending
            self._rows.append({"time_s": time.monotonic() - self._begun_s, **row})
            self.board.value = board_html(self._rows)

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        """The board, and for a reader without widgets its last state."""
        return bundle(self.board, text_html=self.board.value)


def gauges(metrics: str) -> dict[str, float]:
    """Return the columns of GAUGES from a text of Prometheus."""
    found = dict.fromkeys(GAUGES, 0.0)
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            for column, (name, tier) in GAUGES.items():
                if sample.name == name and tier in ("", sample.labels.get("tier")):
                    found[column] += sample.value
    return found


def board_html(rows: Sequence[dict[str, float]]) -> str:
    """Return the last row as a table, and the rate at which answers came lately."""
    last, before = rows[-1], rows[max(0, len(rows) - 1 - int(1 / PERIOD_S))]
    seconds = last["time_s"] - before["time_s"]
    rate = (last["tokens"] - before["tokens"]) / seconds if seconds else 0.0
    cells = {
        "replicas on GPUs": last["gpu"],
        "copies in host memory": last["host"],
        "requests served": last["in_flight"],
        "waiting": last["waiting"],
        "tokens/s of answers": rate,
    }
    shown = "".join(f"<td>{name}<br><b>{value:.0f}</b></td>" for name, value in cells.items())
    return f"<table><tr>{shown}</tr></table>"


def start(spec: TraceSpec) -> Server:
    """Start an endpoint for the models of `spec`; returns once it takes requests. Raises LambdaScaleError."""
    return Server(spec)
