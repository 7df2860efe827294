"""`comfy-gateway db`."""

import sqlite3
from pathlib import Path

from tests.cli.conftest import Run


def test_upgrade_makes_and_keeps_the_database(run: Run, tmp_path: Path) -> None:
    """`db upgrade` makes the database if there is none; where nothing is missing it says so and changes nothing."""
    first, second = run("db", "upgrade"), run("db", "upgrade")
    assert (first.code, first.out, first.err) == (0, "", "The database is up to date now.\n")
    assert (second.code, second.out, second.err) == (0, "", "The database was up to date.\n")
    assert (tmp_path / "data" / "gateway.db").exists()


def test_a_newer_database_is_refused(run: Run, tmp_path: Path) -> None:
    """A database of a newer gateway is one clear line and exit code 1, for every command."""
    run("db", "upgrade")
    with sqlite3.connect(tmp_path / "data" / "gateway.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for words in (("db", "upgrade"), ("user", "list"), ("user", "add", "ann")):
        ran = run(*words)
        assert ran.code == 1
        assert ran.err == "comfy-gateway: The database was made by a newer gateway than this one.\n"


def test_a_damaged_database_is_one_clear_line(run: Run, tmp_path: Path) -> None:
    """Something else in the database's place is exit code 1 with the reason."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gateway.db").write_text("nothing of the kind" * 100)
    ran = run("user", "list")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "comfy-gateway: The database cannot answer now. (file is not a database)\n"
