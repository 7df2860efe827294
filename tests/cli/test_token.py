"""`comfy-gateway token`."""

import time
from pathlib import Path

import pytest

from gateway.identity import tokens
from gateway.store import TokenRow
from tests.cli.conftest import Look, Run


@pytest.fixture(autouse=True)
def ann(run: Run) -> None:
    """A member, ann, and an administrator, root."""
    run("user", "add", "ann")
    run("user", "add", "root", "--role", "admin")


def only(look: Look) -> TokenRow:
    (row,) = look(lambda store: store.tokens.all())
    return row


def test_the_secret_is_alone_on_standard_output(run: Run, look: Look) -> None:
    """`TOKEN=$(comfy-gateway token create ann)` works: the secret alone is on standard output, all else on stderr."""
    ran = run("token", "create", "ann")
    assert ran.code == 0 and ran.out.count("\n") == 1 and ran.err != ""
    parsed = tokens.parse(ran.out.rstrip("\n"))
    row = only(look)
    assert parsed is not None and parsed.id == row.id and tokens.matches(parsed, row.digest)
    assert (row.name, row.scopes, row.expires_at, row.last_used_at, row.revoked_at) == ("", None, None, None, None)
    assert ran.out.strip() not in ran.err


def test_T20_the_secret_is_nowhere_else(run: Run, tmp_path: Path) -> None:
    """T20: neither the data directory nor any list has the secret."""
    secret = run("token", "create", "ann").out.strip().rpartition("_")[2]
    assert all(secret.encode() not in file.read_bytes() for file in (tmp_path / "data").iterdir())
    assert secret not in run("token", "list").out


def test_name_expiry_and_scopes(run: Run, look: Look) -> None:
    """A token can have a name, an expiry and scopes."""
    before = time.time()
    ran = run(
        "token", "create", "ann", "--name", "my laptop", "--expires", "30d", "--scope", "read", "--scope", "submit"
    )
    row = only(look)
    assert ran.code == 0 and row.name == "my laptop" and row.scopes == frozenset({"read", "submit"})
    assert row.expires_at is not None and row.expires_at == row.created_at + 30 * 86400 and row.created_at >= before


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("12h", 43200), ("1d", 86400), ("2w", 1209600)]
)
def test_durations(run: Run, look: Look, text: str, seconds: int) -> None:
    """An expiry is a number of seconds, minutes, hours, days or weeks from now."""
    run("token", "create", "ann", "--expires", text)
    row = only(look)
    assert row.expires_at == row.created_at + seconds


@pytest.mark.parametrize(
    "text", ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "30D", "1y", "\u0663d", "99999999999w", "never"]
)
def test_bad_durations_are_refused(run: Run, look: Look, text: str) -> None:
    """An expiry that cannot be read is one clear line and exit code 1, and no token is made."""
    ran = run("token", "create", "ann", f"--expires={text}")
    assert (ran.code, ran.out) == (1, "") and ran.err.startswith(f"comfy-gateway: “{text}” is no duration")
    assert look(lambda store: store.tokens.all()) == ()


def test_unknown_scopes_are_refused(run: Run) -> None:
    """A scope that does not exist is refused, with those that do."""
    ran = run("token", "create", "ann", "--scope", "read", "--scope", "root")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "comfy-gateway: There is no scope “root”; there are read, submit, admin.\n"


def test_T29_no_token_above_its_user(run: Run, look: Look) -> None:
    """T29: a token cannot have a scope that its user's role does not have."""
    ran = run("token", "create", "ann", "--scope", "admin")
    assert (ran.code, ran.out) == (1, "") and "“admin”" in ran.err and ran.err.count("\n") == 1
    assert look(lambda store: store.tokens.all()) == ()
    assert run("token", "create", "root", "--scope", "admin").code == 0


def test_a_role_that_is_gone_gives_no_tokens(run: Run, tmp_path: Path) -> None:
    """A user whose role is not in the settings any more gets no token, and hears why."""
    (tmp_path / "gateway.toml").write_text('[roles.guest]\npermissions = ["read"]\n')
    run("user", "add", "gus", "--role", "guest")
    (tmp_path / "gateway.toml").unlink()
    ran = run("token", "create", "gus")
    assert (ran.code, ran.out) == (1, "") and "“guest”" in ran.err


@pytest.mark.parametrize("name", ["x" * 65, "a\nb", "\x1b[31m"])
def test_names_of_tokens_are_one_short_line(run: Run, name: str) -> None:
    """A name that would break the list, or the terminal that shows it, is refused."""
    assert run("token", "create", "ann", "--name", name).code == 1


def test_tokens_are_listed(run: Run, look: Look) -> None:
    """`token list` shows each token's id, user, name, scopes and state, of all users or of one."""
    run("token", "create", "ann", "--name", "laptop", "--scope", "read")
    run("token", "create", "root")
    mine, other = look(lambda store: store.tokens.all())
    run("token", "revoke", other.id)
    ran = run("token", "list")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].split()[:5] == ["ID", "USER", "NAME", "SCOPES", "STATE"]
    assert lines[1].split()[:5] == [mine.id, "ann", "laptop", "read", "good"]
    assert lines[2].split()[:3] == [other.id, "root", "-"] and "all of the role" in lines[2] and "revoked" in lines[2]
    assert [line.split()[0] for line in run("token", "list", "ANN").out.splitlines()] == ["ID", mine.id]


def test_an_expired_token_is_listed_as_such(run: Run, look: Look) -> None:
    """A token whose time is over is shown as expired."""
    look(lambda store: store.tokens.add(TokenRow("k3m5n7qa", 1, "old", b"d" * 32, None, 1.0, 2.0)))
    assert "expired" in run("token", "list").out


def test_a_token_is_revoked_by_its_id(run: Run, look: Look) -> None:
    """`token revoke ID` ends a token; whoever has only the token itself can paste that."""
    one, two = (run("token", "create", "ann").out.strip() for _ in range(2))
    ran = run("token", "revoke", one.split("_")[1])
    assert (ran.code, ran.out, ran.err) == (0, "", f"Revoked {one.split('_')[1]}.\n")
    assert run("token", "revoke", two).code == 0
    assert all(row.revoked_at is not None for row in look(lambda store: store.tokens.all()))


def test_unknown_tokens_and_users_are_said_so(run: Run) -> None:
    """What is not there is one clear line and exit code 1."""
    for words in (("create", "bob"), ("list", "bob"), ("revoke", "k3m5n7qa")):
        ran = run("token", *words)
        assert (ran.code, ran.out) == (1, "") and ran.err.startswith("comfy-gateway: There is no ")
        assert ran.err.count("\n") == 1
