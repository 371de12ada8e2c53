"""A real `lambdascale serve` for tests: a process of its own, asked over HTTP; nothing of it stays."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from leftovers import footprint, within
from openai import OpenAI

from lambdascale.experiments.endpoint_process import END_S, EndpointProcess, endpoint_process

KEY = "a key of tests".replace(" ", "-")


@dataclass(frozen=True, slots=True)
class Server(EndpointProcess):
    """Where it is, and which model it has."""

    @property
    def model(self) -> str:
        return self.models[0]

    def client(self, key: str = KEY) -> OpenAI:
        return OpenAI(base_url=self.address, api_key=key, max_retries=0, timeout=60)

    def http(self, key: str = KEY) -> httpx.Client:
        return httpx.Client(
            base_url=self.root, headers={"authorization": f"Bearer {key}"}, timeout=60
        )

    def metric(self, sample: str) -> float:
        """The value of a sample, 0 if there is none."""
        with self.http() as http:
            lines = http.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(sample))


@contextmanager
def serving(
    model: Path | str, *options: object, signalled: signal.Signals = signal.SIGTERM
) -> Iterator[Server]:
    """Serve `model` on a free port; at the end a signal, and whatever is left then is an error."""
    with tempfile.TemporaryDirectory() as scratch, started(model, scratch, *options) as server:
        taken = footprint(server.process.pid, Path(scratch))
        yield server
        server.process.send_signal(signalled)
        assert server.process.wait(END_S) == 128 + signalled
        assert within(lambda: taken.gone)


@contextmanager
def started(model: Path | str, scratch: str, *options: object) -> Iterator[Server]:
    """Serve `model` with `scratch` for temporary files; ended at the end, if it lives until then."""
    with endpoint_process(("--model", model, *options), KEY, {"TMPDIR": scratch}) as e:
        yield Server(e.process, e.address, e.models, e.told, e.errors, KEY)
