"""`comfy-gateway user`."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.identity.passwords import Passwords
from gateway.store import SessionRow, Store, User
from tests.cli.conftest import Look, Run


def named(name: str) -> Callable[[Store], Awaitable[User | None]]:
    return lambda store: store.users.by_name(name)


def verifies(user: User | None, password: str) -> bool:
    return user is not None and user.password_hash is not None and Passwords().verify(password, user.password_hash)


def test_adding_the_first_user_makes_the_database(run: Run, look: Look) -> None:
    """On a fresh data directory `user add` makes the database; what it says goes to standard error."""
    ran = run("user", "add", "ann")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "Added ann (member) without a password: tokens only.\n"
    user = look(named("ann"))
    assert user is not None and user.role == "member" and user.password_hash is None


def test_a_password_comes_from_standard_input(run: Run, look: Look) -> None:
    """`--password-stdin` reads one line: blanks are part of it, the line's end is not, and nothing repeats it."""
    ran = run("user", "add", "ann", "--role", "admin", "--password-stdin", stdin=" my pass word \r\nmore\n")
    assert ran.code == 0 and "my pass word" not in ran.out + ran.err
    user = look(named("ann"))
    assert verifies(user, " my pass word ") and user is not None and user.role == "admin"


@pytest.mark.parametrize("stdin", ["", "\n"])
def test_an_empty_password_is_refused(run: Run, stdin: str) -> None:
    """An empty line, or none, is no password: nobody is added."""
    ran = run("user", "add", "ann", "--password-stdin", stdin=stdin)
    assert (ran.code, ran.out, ran.err) == (1, "", "comfy-gateway: The password is empty.\n")
    assert "no database" in run("user", "list").err


async def test_on_a_terminal_the_password_is_asked_for(tmp_path: Path) -> None:
    """On a terminal `user add` asks twice, without showing what is typed."""
    ours, theirs = os.openpty()
    words = [sys.executable, "-m", "gateway", "user", "add", "ann", "--data-dir", str(tmp_path / "data")]
    process = await asyncio.create_subprocess_exec(
        *words, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    os.close(theirs)
    assert process.stderr is not None
    for question in (b"Password: ", b"Repeat for confirmation: "):
        assert (await asyncio.wait_for(process.stderr.readuntil(question), 30)).strip() == question.strip()
        os.write(ours, b"typed\n")
    out, err = await asyncio.wait_for(process.communicate(), 30)
    os.close(ours)
    assert (process.returncode, out, err.strip()) == (0, b"", b"Added ann (member).")
    async with await Store.open(f"sqlite:///{tmp_path / 'data' / 'gateway.db'}") as store:
        assert verifies(await store.users.by_name("ann"), "typed")


@pytest.mark.parametrize("name", ["ann", "ANN"])
def test_a_taken_name_is_refused(run: Run, name: str) -> None:
    """A taken name, in any case, is one clear line and exit code 1."""
    run("user", "add", "ann")
    assert run("user", "add", name).err == f"comfy-gateway: The name “{name}” is taken.\n"
    assert run("user", "add", name).code == 1


def test_a_name_that_cannot_be_had_is_refused(run: Run) -> None:
    """A name with a blank in it is one clear line and exit code 1."""
    ran = run("user", "add", "a b")
    assert ran.code == 1 and ran.err.startswith("comfy-gateway: A user name has 1 to 64") and ran.err.count("\n") == 1


def test_an_unknown_role_is_refused(run: Run) -> None:
    """A role that is not in the settings is refused, with those that are."""
    ran = run("user", "add", "ann", "--role", "boss")
    assert (ran.code, ran.err) == (1, "comfy-gateway: There is no role “boss”; there are admin, member.\n")
    run("user", "add", "ann")
    assert run("user", "set", "ann", "--role", "boss").code == 1


def test_roles_come_from_the_settings(run: Run, tmp_path: Path, look: Look) -> None:
    """A role of the file of settings, named or in this directory, can be given."""
    (tmp_path / "gateway.toml").write_text('[roles.guest]\npermissions = ["read"]\n')
    (tmp_path / "other.toml").write_text('[roles.boss]\npermissions = ["admin"]\n')
    assert run("user", "add", "ann", "--role", "guest").code == 0
    assert run("user", "add", "bob", "--role", "guest", "--config", "other.toml").code == 1
    assert run("user", "add", "bob", "--role", "boss", "--config", "other.toml").code == 0
    assert [user.role for user in look(lambda store: store.users.all())] == ["guest", "boss"]


def test_the_list_is_on_standard_output(run: Run) -> None:
    """`user list` writes a table that a script can read, and nothing on standard error."""
    run("user", "add", "bob")
    run("user", "add", "Ann", "--role", "admin", "--password-stdin", stdin="pw\n")
    run("user", "disable", "bob")
    ran = run("user", "list")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[:4] for line in ran.out.splitlines()] == [
        ["NAME", "ROLE", "STATE", "PASSWORD"],
        ["Ann", "admin", "enabled", "yes"],
        ["bob", "member", "disabled", "no"],
    ]


def test_role_and_password_can_be_set(run: Run, look: Look) -> None:
    """`user set` changes what is given; a new password ends the user's sessions."""
    run("user", "add", "ann", "--password-stdin", stdin="old\n")
    look(lambda store: store.sessions.add(SessionRow("j1", 1, 1.0, 100.0)))
    assert run("user", "set", "ann", "--role", "admin").code == 0
    user = look(named("ann"))
    assert user is not None and user.role == "admin" and verifies(user, "old")
    assert look(lambda store: store.sessions.get("j1")) is not None
    ran = run("user", "set", "ann", "--password-stdin", stdin="new\n")
    assert (ran.code, ran.out, ran.err) == (0, "", "Changed ann.\n")
    assert verifies(look(named("ann")), "new") and not verifies(look(named("ann")), "old")
    assert look(lambda store: store.sessions.get("j1")) is None


def test_setting_nothing_is_wrong_usage(run: Run) -> None:
    """`user set` without anything to set is exit code 2."""
    run("user", "add", "ann")
    ran = run("user", "set", "ann")
    assert ran.code == 2 and "--role" in ran.err and ran.out == ""


def test_a_password_cannot_be_asked_for_without_a_terminal(run: Run, look: Look) -> None:
    """`user set --password` in a script says what to do instead, and changes nothing."""
    run("user", "add", "ann", "--password-stdin", stdin="old\n")
    ran = run("user", "set", "ann", "--password", stdin="new\n")
    assert ran.code == 1 and "--password-stdin" in ran.err
    assert verifies(look(named("ann")), "old")


def test_users_can_be_disabled_and_enabled(run: Run, look: Look) -> None:
    """A disabled user keeps everything and can be enabled again."""
    run("user", "add", "ann")
    for word, disabled in (("disable", True), ("enable", False)):
        assert run("user", word, "ann").code == 0
        user = look(named("ann"))
        assert user is not None and user.disabled is disabled


def test_users_can_be_removed(run: Run, look: Look) -> None:
    """A removed user is gone, and the name is free again."""
    run("user", "add", "ann")
    ran = run("user", "remove", "ANN")
    assert (ran.code, ran.out) == (0, "") and ran.err.startswith("Removed ANN. Files stay where they are: users/")
    assert look(named("ann")) is None
    assert run("user", "add", "ann").code == 0


@pytest.mark.parametrize("words", [("disable",), ("enable",), ("remove",), ("set", "--role", "admin")])
def test_an_unknown_user_is_said_so(run: Run, words: tuple[str, ...]) -> None:
    """A user who is not there is one clear line and exit code 1."""
    run("user", "add", "ann")
    ran = run("user", words[0], "bob", *words[1:])
    assert (ran.code, ran.out, ran.err) == (1, "", "comfy-gateway: There is no user “bob”.\n")


def test_limits_of_ones_own(run: Run, look: Look) -> None:
    """`user set --limit` gives a user limits instead of the role's, `--no-limit` takes them away; `list` shows them."""
    run("user", "add", "ann")
    ran = run("user", "set", "ann", "--limit", "weight=2", "--limit", "max_running=none", "--limit", "max_queued=5")
    assert (ran.code, ran.err) == (0, "Changed ann.\n")
    assert run("user", "list").out.splitlines()[1].endswith("max_queued=5, max_running=none, weight=2")
    assert run("user", "set", "ann", "--no-limit", "weight", "--no-limit", "max_running").code == 0
    user = look(named("ann"))
    assert user is not None and user.limits == '{"max_queued":5}'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--limit", "max_queued=0"), "max_queued: Input should be greater than or equal to 1"),
        (("--limit", "bogus=1"), "“bogus” is no limit; there are weight, priority"),
        (("--limit", "permissions=admin"), "“permissions” is no limit"),
        (("--limit", "weight"), "“weight” is not NAME=VALUE"),
        (("--no-limit", "weight"), "ann has no limit “weight” of their own"),
    ],
)
def test_limits_that_cannot_be(run: Run, look: Look, words: tuple[str, ...], said: str) -> None:
    """A limit that no role may have is refused in one line, and nothing is changed."""
    run("user", "add", "ann")
    ran = run("user", "set", "ann", "--role", "admin", *words)
    assert ran.code == 1 and said in ran.err and ran.err.count("\n") == 1
    user = look(named("ann"))
    assert user is not None and (user.role, user.limits) == ("member", "{}")
