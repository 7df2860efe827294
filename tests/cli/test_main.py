"""The command line as a whole."""

import asyncio
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.identity import tokens
from gateway.store import Store
from tests.cli.conftest import Run


async def in_a_process(*words: str, data_dir: Path) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *words, "--data-dir", str(data_dir)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def test_commands_work_while_the_gateway_runs(tmp_path: Path) -> None:
    """While one process has the database open, the command line changes it, and that one hears of it at once."""
    async with await Store.open(f"sqlite:///{tmp_path / 'gateway.db'}") as store:
        user = await store.users.add("ann", role="member", now=1.0, random=secrets.token_bytes)
        before = store.changes.version()
        code, out, _ = await in_a_process("token", "create", "ann", data_dir=tmp_path)
        assert code == 0 and store.changes.version() > before
        token = tokens.parse(out.strip())
        assert token is not None
        row = await store.tokens.get(token.id)
        assert row is not None and row.user_id == user.id and tokens.matches(token, row.digest)
        before = store.changes.version()
        assert (await in_a_process("token", "revoke", token.id, data_dir=tmp_path))[0] == 0
        assert store.changes.version() > before
        row = await store.tokens.get(token.id)
        assert row is not None and row.revoked_at is not None


@pytest.mark.parametrize("words", ["user list", "token list", "token create ann", "user remove ann"])
def test_what_only_reads_makes_nothing(run: Run, tmp_path: Path, words: str) -> None:
    """Without a database every command but `user add` and `db upgrade` says so, and leaves none behind."""
    ran = run(*words.split())
    assert (ran.code, ran.out) == (1, "") and "There is no database at" in ran.err and ran.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["bogus", "user bogus", "user add", "user add a b", "token create ann --bogus"])
def test_wrong_usage_is_exit_code_2(run: Run, words: str) -> None:
    """Unknown commands and options, and missing or additional words, are exit code 2 and nothing on standard output."""
    ran = run(*words.split())
    assert (ran.code, ran.out) == (2, "") and ran.err != ""


def test_a_data_directory_that_cannot_be_made(run: Run, tmp_path: Path) -> None:
    """A data directory in an impossible place is one clear line and exit code 1."""
    (tmp_path / "file").write_text("")
    ran = run("user", "add", "ann", data_dir=tmp_path / "file" / "data")
    assert ran.code == 1 and ran.err.startswith("comfy-gateway: The database ") and ran.err.count("\n") == 1
