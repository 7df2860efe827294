"""What every test shares: the log as the commands set it up, so that a failing test never prints a secret."""

import pytest

from gateway.log import configure


@pytest.fixture(autouse=True, scope="session")
def quiet_log() -> None:
    """Lines for people, masked; without this structlog prints the local variables of a failure, passwords included."""
    configure(json=False)
