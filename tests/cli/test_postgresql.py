"""The commands on PostgreSQL, and that none of them shows the password of its address."""

from collections.abc import Iterator

import pytest

from tests.cli.conftest import Ran, Run
from tests.postgres import Postgres

SECRET = "6Zk2hQ9w"


@pytest.fixture
def url(postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    address = postgres_server.make()
    monkeypatch.setenv("GATEWAY_DATABASE_URL", address)
    yield address
    postgres_server.drop(address)


def quiet(ran: Ran) -> Ran:
    assert SECRET not in ran.out + ran.err
    return ran


def test_the_migrations_are_a_command(run: Run, url: str) -> None:
    """`db upgrade` makes the tables; where nothing is missing it says so."""
    first, second = quiet(run("db", "upgrade")), quiet(run("db", "upgrade"))
    assert (first.code, first.err) == (0, "The database is up to date now.\n")
    assert (second.code, second.err) == (0, "The database was up to date.\n")


def test_users_are_kept_there(run: Run, url: str, postgres_server: Postgres) -> None:
    """What a command writes is in the database that the setting names, and no file is made beside it."""
    assert quiet(run("user", "add", "ann")).code == 0
    name = url.partition("@/")[2].partition("?")[0]
    assert postgres_server.sql("SELECT name FROM users", database=name) == "ann"
    assert "ann" in quiet(run("user", "list")).out


def test_config_masks_the_password(run: Run, url: str) -> None:
    """`config` shows where the database is, without the password."""
    ran = quiet(run("config"))
    assert ran.code == 0 and "postgresql://gateway:***@/" in ran.out


def test_check_looks_at_it(run: Run, url: str, postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` says whether the database is up to date and takes writes, and what to do where it cannot be reached."""
    assert "fail  database" in quiet(run("check")).out
    run("db", "upgrade")
    ran = quiet(run("check"))
    assert "ok    database" in ran.out and "takes writes" in ran.out and "gateway:***@" in ran.out
    monkeypatch.setenv("GATEWAY_DATABASE_URL", postgres_server.url("nowhere"))
    ran = quiet(run("check"))
    assert "fail  database" in ran.out and "nowhere" in ran.out and "database_url" in ran.out
