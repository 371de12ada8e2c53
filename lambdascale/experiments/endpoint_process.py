"""A `lambdascale serve` in a process of its own, as a user would start it, and what can be seen of it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.request import Request, urlopen

import psutil
from prometheus_client.parser import text_string_to_metric_families

from lambdascale.errors import LambdaScaleError
from lambdascale.serve.limits import KEY_VARIABLE

ASK_S, END_S = 60.0, 20.0


@dataclass(frozen=True, slots=True)
class EndpointProcess:
    """A process that serves at `address`, as it has `told`; whoever asks says `key`, if it has one."""

    process: subprocess.Popen[str]
    address: str
    models: tuple[str, ...]
    told: Mapping[str, Any]
    errors: IO[str]
    key: str = ""

    @property
    def root(self) -> str:
        """The address without the version of the API."""
        return self.address.removesuffix("/v1")

    @property
    def headers(self) -> dict[str, str]:
        """What every request must carry."""
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    @property
    def complaints(self) -> list[str]:
        """What it has said on standard error, in lines."""
        self.errors.seek(0)
        return self.errors.read().splitlines()

    def agents(self) -> list[psutil.Process]:
        """Return the processes of the agents that live."""
        return agents(self.process.pid)

    def metrics(self) -> dict[str, float]:
        """Return every sample of `/metrics` by its name, summed over labels."""
        with urlopen(
            Request(f"{self.root}/metrics", headers=self.headers), timeout=ASK_S
        ) as answer:
            text = answer.read().decode()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found


def agents(driver: int) -> list[psutil.Process]:
    """Return the processes of the agents of a driver that live: the children of its nurseries."""
    nurseries = psutil.Process(driver).children()
    children = [agent for nursery in nurseries for agent in nursery.children()]
    return [agent for agent in children if _lives(agent)]


def _lives(process: psutil.Process) -> bool:
    """Is it there, and more than an entry that nobody has collected yet?"""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def endpoint_process(
    options: Sequence[object], key: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[EndpointProcess]:
    """Serve at a free port with these options of `lambdascale serve`; raises LambdaScaleError.

    `environment` is added to ours. A process that is still there at the end is ended.
    """
    given = {KEY_VARIABLE: key} if key else {}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command(options),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | given | dict(environment or {}),
        )
        try:
            told = json.loads(_first_line(process, errors))
            models = tuple(told["models"])
            yield EndpointProcess(process, told["address"], models, told, errors, key)
        finally:
            _end(process)


def command(options: Sequence[object]) -> list[str]:
    """Return what serves at a free port with these options."""
    serve = (sys.executable, "-m", "lambdascale", "serve", "--json", "--port", "0")
    return [*serve, *map(str, options)]


def _first_line(process: subprocess.Popen[str], errors: IO[str]) -> str:
    assert process.stdout is not None  # a pipe was asked for
    if line := process.stdout.readline():
        return line
    status = process.wait()
    errors.seek(0)
    said = errors.read().splitlines() or [f"it ended with status {status}"]
    raise LambdaScaleError(f"the endpoint did not start: {said[-1]}")


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    process.terminate()
    try:
        process.wait(END_S)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
