"""The signing keys in the data directory, made at the first start. It does not know what they sign."""

import hashlib
import hmac
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from gateway.config import ConfigError
from gateway.identity.jwt import Key, Keys
from gateway.log import get_logger

FILE_NAME: Final = "keys.json"

_LOG: Final = get_logger(__name__)


def ensure_keys(data_dir: Path, *, secret_key: SecretStr | None, random: Callable[[int], bytes]) -> Keys:
    """The keys: made from the setting `secret_key` if there is one, else those of `keys.json`, which is made if need
    be.

    The file is `{"keys": [{"kid": …, "secret": hexadecimal, "until": seconds since 1970 or null}, …]}`; its first key
    signs. Its mode is 0600 and that of the directory 0700. Of two processes that make it at once, one wins and both
    use that one.

    Raises:
        ConfigError: the file cannot be made or read, or is not such a file.
    """
    if secret_key is not None:
        return Keys([_derived(secret_key.get_secret_value())])
    path = data_dir / FILE_NAME
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path, random)
        _close_to_others(path)
        return Keys([_key(entry) for entry in json.loads(path.read_bytes())["keys"]])
    except OSError as error:
        raise ConfigError((f"{path}: cannot be made or read: {error.strerror}",)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError((f"{path}: is not a file of keys; move it away and new ones are made",)) from error


def _derived(secret: str) -> Key:
    """A key from a secret in any spelling: always 32 bytes, and its name tells nothing about the secret."""
    data = hmac.digest(secret.encode("utf-8", "surrogatepass"), b"comfyui-gateway: JWT signing key", "sha256")
    return Key("s" + hashlib.sha256(data).hexdigest()[:12], data)


def _make(path: Path, random: Callable[[int], bytes]) -> None:
    """Written whole under another name first, then linked: nobody can read half of it, and the second of two makers
    fails.
    """
    entry = {"kid": random(6).hex(), "secret": random(32).hex(), "until": None}
    draft = path.with_name(f"{path.name}.{random(6).hex()}")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump({"keys": [entry]}, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        _LOG.info("another process made the keys first", path=str(path))
    finally:
        draft.unlink()


def _close_to_others(path: Path) -> None:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        _LOG.warning("the keys could be read by others; closed now", path=str(path))
        path.chmod(0o600)


def _key(entry: dict[str, Any]) -> Key:
    kid, secret, until = entry["kid"], entry["secret"], entry["until"]
    return Key(str(kid), bytes.fromhex(secret), None if until is None else float(until))
