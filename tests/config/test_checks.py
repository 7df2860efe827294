"""What single settings must look like."""

import os
import secrets
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.config import ConfigError, Settings, load
from gateway.config.checks import secret, without_password


def refusal(**flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config=None, flags=flags, environ={"HOME": "/home/ann"})
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    "weak",
    [
        "",
        "short",
        "a" * 64,
        "ab" * 32,
        "changeme" * 8,
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "0123456789" * 4,
        "this-is-my-very-long-secret-key-for-sessions",
        "correct-horse-battery-PASSWORD-staple-9",
        "-----BEGIN RSA PRIVATE KEY-----MIIEowIBAAKCAQEAx7",
        "\x00" * 40,
    ],
)
def test_T25_a_weak_secret_is_refused(weak: str) -> None:
    """T25: with a weak, empty or default secret the process refuses to start."""
    assert refusal(secret_key=weak).startswith("secret_key (flag --secret-key): ")


def test_T25_random_secrets_are_taken() -> None:
    """T25: what `openssl rand -hex 32` or `-base64 32` prints is never called weak."""
    for _ in range(300):
        for text in (secrets.token_hex(16), secrets.token_hex(32), secrets.token_urlsafe(32)):
            assert secret(SecretStr(text)).get_secret_value() == text


@pytest.mark.parametrize("everybody", ["*", "0.0.0.0/0", "::/0", "::ffff:0:0/96", "::ffff:0.0.0.0/90", "0.0.0.0/00"])
def test_N05_trusting_everybody_is_refused(everybody: str) -> None:
    """N05: with a proxy list that means everybody the process refuses to start."""
    assert "trusted_proxies" in refusal(trusted_proxies=["127.0.0.1", everybody])


@pytest.mark.parametrize("bad", ["localhost", "10.0.0.1/8", "10.0.0.0/33", "", "10.0.0.1 "])
def test_a_proxy_is_an_address_or_a_network(bad: str) -> None:
    """Names and networks with host bits are refused: they may mean more than was meant."""
    assert "trusted_proxies" in refusal(trusted_proxies=[bad])


@pytest.mark.parametrize("good", ["127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"])
def test_proxies_may_be_networks(good: str) -> None:
    """Addresses and networks of both families are taken."""
    assert load(config=None, flags={"trusted_proxies": [good]}, environ={"HOME": "/"}).trusted_proxies == (good,)


@pytest.mark.parametrize(
    "bad",
    [
        "gateway.example",
        "/gateway",
        "ftp://gateway.example",
        "https://",
        "https://gateway.example/comfy",
        "https://gateway.example?x=1",
        "https://gateway.example/?",
        "https://gateway.example#top",
        "https://me:pw@gateway.example",
        "https://gateway.example:99999",
        "https://gateway.example:0",
        "https://gate way.example",
        "https://[::1",
        "javascript:alert(1)",
    ],
)
@pytest.mark.parametrize("key", ["public_url", "comfyui", "cors_origins"])
def test_an_address_names_a_server_and_nothing_below(key: str, bad: str) -> None:
    """public_url, ComfyUI's address and each CORS origin are absolute http(s) addresses without path, query or user."""
    assert f"{key} (flag" in refusal(**{key: bad if key == "public_url" else [bad]})


def test_a_slash_at_the_end_is_forgiven() -> None:
    """http://host:8188/ and http://host:8188 are the same server."""
    flags = {"comfyui": ("http://[::1]:8188/",), "public_url": "https://g.example/"}
    settings = load(config=None, flags=flags, environ={"HOME": "/"})
    assert settings.comfyui == ("http://[::1]:8188",) and settings.public_url == "https://g.example"


@pytest.mark.parametrize("servers", [(), ("http://a:1", "http://b:1")])
def test_exactly_one_server_for_now(servers: tuple[str, ...]) -> None:
    """No server and several servers are refused in words."""
    assert "exactly one ComfyUI server" in refusal(comfyui=servers)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "gateway.db",
        "",
        "mysql://a:6Zk2hQ9w@b/c",
        "postgresql://db",
        "postgresql://db/",
        "postgresql://a:6Zk2/hQ9w@b/c",
        "postgresql://a:12/6Zk2hQ9w@b",
        "postgresql://a:6Zk2?hQ9w@b/c",
        "postgresql://a:6Zk2#hQ9w@b/c",
        "postgresql://a:6Zk2@hQ9w@b/c",
        "postgresql://a:6Zk2 hQ9w@b/c",
        "postgresql://a:6Zk2hQ9w@b:0/c",
        "postgresql+psycopg://a:6Zk2hQ9w@b/c",
    ],
)
def test_only_sqlite_and_postgresql(url: str) -> None:
    """Another database than a SQLite file or one of PostgreSQL is refused in words, which never repeat a password; an
    address whose password would be cut in the middle is refused too."""
    words = refusal(database_url=url)
    assert "database_url" in words and "6Zk2" not in words and "hQ9w" not in words


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://db/gateway", "postgresql://db/gateway"),
        ("postgres://a@db:5433/gateway", "postgres://a@db:5433/gateway"),
        ("postgresql+asyncpg://a:p%40w@db/gateway", "postgresql+asyncpg://a:***@db/gateway"),
        ("postgresql://a:pw@/g?host=/run/postgresql", "postgresql://a:***@/g?host=/run/postgresql"),
        ("postgresql://a:pw@h1:1,h2:2/g", "postgresql://a:***@h1:1,h2:2/g"),
        (
            "postgresql://db/g?user=a&password=pw&sslmode=require",
            "postgresql://db/g?user=a&password=***&sslmode=require",
        ),
        ("sqlite:///gateway.db", "sqlite:///gateway.db"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    """An address of a database is told without the password in it, and its settings' text has none of it."""
    given = Settings(data_dir=Path("x"), database_url=url)
    assert given.database_url is not None and without_password(given.database_url) == shown
    assert "pw" not in repr(given)


@pytest.mark.parametrize("route", ["/vhs", "GET vhs", "get /vhs", "GET /vhs?x", "GET  /vhs", "TRACE /vhs", "*"])
def test_a_route_is_a_method_and_a_path(route: str) -> None:
    """A rule for a custom route that could match nothing, or too much, is refused."""
    assert "roles.member.routes" in refusal(roles={"member": {"routes": [route]}})


@pytest.mark.parametrize(
    "role",
    [
        {"max_sockets": 0},
        {"max_upload_mb": 0},
        {"max_queued": 0},
        {"max_uploads": 0},
        {"storage_mb": 0},
        {"upload_mb_per_day": 0},
        {"retention_days": 0},
    ],
)
def test_limits_are_positive_numbers(role: dict[str, float]) -> None:
    """A share or a limit that arithmetic cannot use is refused."""
    assert "roles.member." in refusal(roles={"member": role})


def test_permissions_are_the_three() -> None:
    """A permission that does not exist is refused."""
    assert "roles.member.permissions" in refusal(roles={"member": {"permissions": ["read", "root"]}})


@pytest.mark.parametrize("name", ["", "a b", "a.b", "ä", "x" * 65, "a\n"])
def test_names_of_roles_are_plain(name: str) -> None:
    """A role's name can be written in a file, a command and a log line as it is."""
    assert "roles." in refusal(roles={name: {"permissions": ["read"]}})


def test_comfyui_s_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must hold ComfyUI's folders, which the gateway must be able to change, and no link in place of `users`."""
    settings = load(config=None, flags={}, environ={"HOME": "/home/ann"})
    assert settings.comfyui_files is None
    for name in ("input", "output"):
        assert f"no {name}" in refusal(comfyui_files=tmp_path)
        (tmp_path / name).mkdir()
    assert "is no directory" in refusal(comfyui_files=tmp_path / "absent")
    settings = load(config=None, flags={}, environ={"HOME": "/home/ann", "GATEWAY_COMFYUI_FILES": str(tmp_path)})
    assert settings.comfyui_files == tmp_path
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "output" / "users").symlink_to(tmp_path / "elsewhere")
    assert "links are not followed" in refusal(comfyui_files=tmp_path)
    (tmp_path / "output" / "users").unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "input")
    assert f"{tmp_path / 'input'} cannot be written to" in refusal(comfyui_files=tmp_path)
