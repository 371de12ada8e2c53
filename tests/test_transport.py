"""Every real body passes the conformance checks."""

import asyncio
from functools import partial

import pytest
from transport_conformance import CHECKS, Check

from lambdascale.errors import ConfigError
from lambdascale.transport.registry import ON_ANY_HOST, open_transport

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("impatient")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ON_ANY_HOST)
def test_a_real_body_conforms(name: str, check: Check) -> None:
    asyncio.run(check(partial(open_transport, name)))


def test_an_unknown_transport_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="choose one of shm, tcp"):
        asyncio.run(open_transport("infiniband", 0, b"secret"))
