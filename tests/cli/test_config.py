"""`comfy-gateway config`."""

import tomllib
from pathlib import Path

import pytest

from gateway.store import Store
from tests.cli.conftest import Look, Run

SECRET = "6Zk2hQ9w-Rb7XcL4m_TfV1sY8pJ3nUeA0dGi5oK"


def lines_of(out: str) -> dict[str, tuple[str, str]]:
    """Key → value, origin."""
    found = {}
    for line in out.splitlines()[1:]:
        setting, _, origin = line.rpartition("  # ")
        key, _, value = setting.partition(" = ")
        found[key] = (value.strip(), origin)
    return found


def test_each_setting_with_its_origin(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every effective setting is shown with where it came from: flag, environment, file or default."""
    (tmp_path / "gateway.toml").write_text("port = 1\nhistory_days = 7\n[roles.member]\nmax_queued = 3\n")
    monkeypatch.setenv("GATEWAY_PORT", "2")
    ran = run("config")
    assert (ran.code, ran.err) == (0, "") and ran.out.startswith("# file: gateway.toml\n")
    found = lines_of(ran.out)
    assert found["data_dir"] == (f'"{tmp_path / "data"}"', "flag")
    assert found["port"] == ("2", "environment")
    assert found["history_days"] == ("7", "file")
    assert found["host"] == ('"127.0.0.1"', "default")
    assert found["comfyui"] == ('["http://127.0.0.1:8188"]', "default")
    assert found["roles.member.max_queued"] == ("3", "file")
    assert found["roles.member.max_sockets"] == ("32", "default")
    assert found["roles.member.events.owner-of-running"] == ("[]", "default")


def test_what_was_decided_of_inputs(run: Run, tmp_path: Path, look: Look) -> None:
    """Where `share_inputs` is not set, it is said beside it what the gateway decided; asking makes no database."""
    assert "share_inputs = -" in (out := run("config").out) and "until then false" in out
    assert not (tmp_path / "data").exists()
    run("db", "upgrade")

    async def met(store: Store) -> None:
        await store.servers.client_id("http://127.0.0.1:8188", lambda: "x")
        await store.servers.decide_inputs("http://127.0.0.1:8188", shared=True)

    look(met)
    said = "default: decided at the first contact with http://127.0.0.1:8188: true"
    assert lines_of(run("config").out)["share_inputs"] == ("-", said)
    (tmp_path / "gateway.toml").write_text("share_inputs = false\n")
    assert lines_of(run("config").out)["share_inputs"] == ("false", "file")


def test_N06_secrets_are_masked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """N06: that there is a secret key is shown, and not which."""
    monkeypatch.setenv("GATEWAY_SECRET_KEY", SECRET)
    ran = run("config")
    assert lines_of(ran.out)["secret_key"] == ('"***"', "environment") and SECRET not in ran.out + ran.err


def test_what_is_shown_can_be_written_to_a_file(run: Run, tmp_path: Path) -> None:
    """The values are in the words of the file: put into one, they give the same settings again."""
    (tmp_path / "gateway.toml").write_text('public_url = "https://g.example/"\n[roles.guest]\npermissions = ["read"]\n')
    first = run("config").out
    (tmp_path / "gateway.toml").write_text("\n".join(line for line in first.splitlines() if " = - " not in line))
    assert tomllib.loads((tmp_path / "gateway.toml").read_text())["public_url"] == "https://g.example"
    again = run("config").out
    assert [value for value, _ in lines_of(again).values()] == [value for value, _ in lines_of(first).values()]
    assert "roles.guest.max_sockets" in lines_of(again)


def test_every_problem_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that cannot be used are exit code 1 with one line on standard error for each problem."""
    (tmp_path / "gateway.toml").write_text('port = "x"\nbogus = 1\n')
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "short")
    ran = run("config")
    assert (ran.code, ran.out) == (1, "") and len(ran.err.splitlines()) == 3
    assert all(line.startswith("comfy-gateway: ") for line in ran.err.splitlines()) and "short" not in ran.err


def test_a_file_that_was_named_must_be_there(run: Run) -> None:
    """`--config` with a file that is not there is exit code 1."""
    ran = run("config", "--config", "none.toml")
    assert (ran.code, ran.err) == (1, "comfy-gateway: none.toml: cannot be read: No such file or directory\n")
