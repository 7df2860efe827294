"""The file with the signing keys."""

import asyncio
import json
import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.config import ConfigError
from gateway.identity.jwt import Claims, InvalidJwt, Keys, sign, verify
from gateway.store.keys import FILE_NAME, ensure_keys

CLAIMS = Claims(iss="g", aud="c", sub="u", jti="j", iat=1000, exp=2000, epoch=0)
SECRET = SecretStr("6Zk2hQ9w-Rb7XcL4m_TfV1sY8pJ3nUeA0dGi5oK")


def keys_in(data_dir: Path) -> Keys:
    return ensure_keys(data_dir, secret_key=None, random=secrets.token_bytes)


def understand(one: Keys, other: Keys) -> bool:
    text = sign(CLAIMS, one, typ="session")
    try:
        return verify(text, other, typ="session", audience="c", issuer="g", now=1500) == CLAIMS
    except InvalidJwt:
        return False


def test_keys_are_made_once(tmp_path: Path) -> None:
    """The first start makes the keys, later starts read the same: sessions survive a restart."""
    first = keys_in(tmp_path / "data")
    assert understand(first, keys_in(tmp_path / "data"))
    assert not understand(first, keys_in(tmp_path / "other"))


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    """The file has mode 0600, its directory 0700, and nothing else is left there."""
    keys_in(tmp_path / "data")
    assert [file.name for file in (tmp_path / "data").iterdir()] == [FILE_NAME]
    assert stat.S_IMODE((tmp_path / "data" / FILE_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_file_that_others_can_read_is_closed(tmp_path: Path) -> None:
    """A file that was copied with a wider mode is narrowed before it is used."""
    keys_in(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o644)
    keys_in(tmp_path)
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_a_setting_replaces_the_file(tmp_path: Path) -> None:
    """With `secret_key` no file is made; two gateways with the same setting understand each other, others do not."""
    one = ensure_keys(tmp_path / "a", secret_key=SECRET, random=secrets.token_bytes)
    two = ensure_keys(tmp_path / "b", secret_key=SECRET, random=secrets.token_bytes)
    third = ensure_keys(tmp_path / "b", secret_key=SecretStr(secrets.token_hex(32)), random=secrets.token_bytes)
    assert understand(one, two) and not understand(one, third)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ['["a", "b", "c", "d"]', '{"kty": "oct", "k": "YWJjZGVmZ2g"}', "ssh-rsa AAAAB3NzaC1"])
def test_a_secret_is_taken_as_bytes(tmp_path: Path, text: str) -> None:
    """A secret in the form of JSON, or of a public key, is not taken apart by the library that signs."""
    secret = SecretStr(text.ljust(40, "x"))
    keys = ensure_keys(tmp_path, secret_key=secret, random=secrets.token_bytes)
    assert understand(keys, keys) and len(keys.current.secret) == 32


def test_T18_keys_can_be_changed_in_the_file(tmp_path: Path) -> None:
    """T18: with a new key in front and an end for the old one, old sessions hold until then."""
    old = keys_in(tmp_path)
    file = tmp_path / FILE_NAME
    entries = json.loads(file.read_text())["keys"]
    new_entry = {"kid": "new", "secret": secrets.token_hex(32), "until": None}
    file.write_text(json.dumps({"keys": [new_entry, {**entries[0], "until": 1600}]}))
    both = keys_in(tmp_path)
    text = sign(CLAIMS, old, typ="session")
    assert verify(text, both, typ="session", audience="c", issuer="g", now=1599) == CLAIMS
    with pytest.raises(InvalidJwt):
        verify(text, both, typ="session", audience="c", issuer="g", now=1600)
    assert both.current.kid == "new"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"keys": []}',
        '{"keys": [5]}',
        '{"keys": [{"kid": "a", "secret": "00", "until": null}]}',
        '{"keys": [{"kid": "a"}]}',
        "\x00",
    ],
)
def test_T25_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    """T25: an empty, damaged or too short key file stops the start; it is neither used nor written over."""
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(ConfigError, match=r"keys\.json"):
        keys_in(tmp_path)
    assert (tmp_path / FILE_NAME).read_text() == content


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A data directory that cannot be made is an error that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        keys_in(tmp_path / "file")


async def test_processes_that_start_at_once_share_the_keys(tmp_path: Path) -> None:
    """Several processes that find no file and make one at the same moment all end with the same keys."""
    script = (
        "import pathlib, secrets; from gateway.log import configure; configure(json=False);"
        "from gateway.store.keys import ensure_keys;"
        f"keys = ensure_keys(pathlib.Path({str(tmp_path)!r}), secret_key=None, random=secrets.token_bytes);"
        "print(keys.current.kid)"
    )
    start = [sys.executable, "-c", script]
    running = [await asyncio.create_subprocess_exec(*start, stdout=subprocess.PIPE) for _ in range(3)]
    kids = {(await asyncio.wait_for(process.communicate(), 60))[0] for process in running}
    assert kids == {f"{keys_in(tmp_path).current.kid}\n".encode()}


def test_the_second_of_two_makers_uses_the_first_ones(tmp_path: Path) -> None:
    """A file that appears while ours is being written is kept: what it signed already must go on to hold."""
    theirs: list[Keys] = []

    def slow(count: int) -> bytes:
        if not theirs:
            theirs.append(keys_in(tmp_path))
        return secrets.token_bytes(count)

    ours = ensure_keys(tmp_path, secret_key=None, random=slow)
    assert ours.current == theirs[0].current
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]
