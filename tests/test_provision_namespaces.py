"""Shaped hosts on one machine: they reach one another at the imposed rate, and nothing is left."""

import subprocess
import sys

import pytest

from lambdascale.errors import ConfigError
from lambdascale.provision.namespaces import Namespaces, missing

pytestmark = pytest.mark.alone

RECEIVE = """
import socket, sys, time
listener = socket.create_server((sys.argv[1], 4000))
print("ready", flush=True)
sock, _ = listener.accept()
sock.recv(1)
began, count = time.monotonic(), 0
while data := sock.recv(1 << 16):
    count += len(data)
print(count / (time.monotonic() - began), flush=True)
"""
SEND = """
import socket, sys
sock = socket.create_connection((sys.argv[1], 4000))
sock.sendall(bytes(8 << 20))
"""


@pytest.fixture(autouse=True)
def needs_root():
    if reason := missing():
        pytest.skip(reason)


def namespaces() -> str:
    return subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


def measured_rate(made: Namespaces) -> float:
    a, b = made.hosts
    program = (sys.executable, "-c", RECEIVE, b.address)
    with subprocess.Popen(b.command(*program), stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        subprocess.run(a.command(sys.executable, "-c", SEND, b.address), check=True)
        return float(receiver.stdout.readline())


def test_two_hosts_reach_one_another_at_the_imposed_rate():
    before = namespaces()
    with Namespaces(2, 25e6) as made:
        assert 0.8 * 25e6 < measured_rate(made) < 25e6
        made.shape(1, 5e6)
        assert 0.8 * 5e6 < measured_rate(made) < 5e6 * 1.05
    assert namespaces() == before


@pytest.mark.parametrize(("count", "rate", "word"), [(0, 1.0, "hosts"), (1, 0.0, "rate")])
def test_what_cannot_be_is_refused(count: int, rate: float, word: str):
    with pytest.raises(ConfigError, match=word):
        Namespaces(count, rate)


TERMINATED = """
import time
from lambdascale.provision.namespaces import Namespaces
with Namespaces(2, 1e7):
    print("made", flush=True)
    time.sleep(60)
"""


def test_termination_removes_the_hosts():
    before = namespaces()
    with subprocess.Popen(
        [sys.executable, "-c", TERMINATED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "made\n"
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in err
    assert namespaces() == before
