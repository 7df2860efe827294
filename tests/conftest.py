"""What every test shares: the log as the commands set it up, so that a failing test never prints a secret, and the one
PostgreSQL server, which is started by the first test that wants it."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from gateway.log import configure
from tests import postgres
from tests.postgres import Postgres

# How long an example takes says how busy the machine is, and nothing about what is tested.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def quiet_log() -> None:
    """Lines for people, masked; without this structlog prints the local variables of a failure, passwords included."""
    configure(json=False)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """With one database for the tests of the store, which empty it before they use it."""
    with postgres.running() as server:
        server.sql(f"CREATE DATABASE {postgres.SHARED} TEMPLATE template0")
        yield server
