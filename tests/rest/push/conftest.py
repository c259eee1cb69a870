"""A push gateway, and a phone that is pushed by it."""

from collections.abc import AsyncIterator

import pytest_twisted

from tests.gateway import Gateway
from tests.rest.conftest import BuildServer
from tests.rest.push.phone import Phone, build_phone


@pytest_twisted.async_yield_fixture
async def gateway() -> AsyncIterator[Gateway]:
    started = Gateway()
    started.start()
    yield started
    await started.stop()


@pytest_twisted.async_yield_fixture
async def phone(build_server: BuildServer, gateway: Gateway) -> AsyncIterator[Phone]:
    yield await build_phone(build_server, gateway)
