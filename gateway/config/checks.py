"""What a single setting must look like: functions that return a value made plain, or raise ValueError in words. They
know no setting by name.
"""

import ipaddress
import itertools
import os
import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

_MAPPED = ipaddress.ip_network("::ffff:0:0/96")
"""All of IPv4 in IPv6 clothes."""

MOST_OF_A_RATE = 100_000
"""As many times are kept in memory for whoever asks so often."""
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 24 * 3600}
_RATE = re.compile(r"(\d{1,9}) ?(?:/| per) ?(?:(\d{1,9}) ?)?(second|minute|hour|day)s?", re.ASCII)


def separated(value: object) -> object:
    """A list may be written as one string with commas: an environment variable has no other way."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def directory(path: Path) -> Path:
    """With `~` resolved."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"“{path}” is in the home of nobody") from None


def comfyui_files(path: Path) -> Path:
    """ComfyUI's data directory: absolute, and with the folders in it that the gateway reads and changes.

    ComfyUI makes `temp` itself, at every start.
    """
    path = directory(path).absolute()
    if not path.is_dir():
        raise ValueError(f"“{path}” is no directory")
    missing = [name for name in ("input", "output") if not (path / name).is_dir()]
    if missing:
        raise ValueError(f"“{path}” holds no {' and no '.join(missing)}; it must be ComfyUI's data directory")
    folders = [path / name / below for name in ("input", "output") for below in ("", "users")]
    links = [str(folder) for folder in folders if folder.name == "users" and folder.is_symlink()]
    if links:
        raise ValueError(f"{' and '.join(links)}: links are not followed here; mount the folder itself")
    closed = [
        str(folder) for folder in folders if folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    ]
    if closed:
        raise ValueError(f"{' and '.join(closed)} cannot be written to by the gateway")
    return path


def _address(text: str) -> SplitResult:
    """The parts of an http(s) address that names a server and nothing below it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"“{text}” is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or re.search(r"\s", text):
        raise ValueError(f"“{text}” is not an absolute http or https address such as http://127.0.0.1:8188")
    if parts.username is not None or parts.path not in ("", "/") or "?" in text or "#" in text:
        raise ValueError(f"“{text}” must end after the host and port: no user, path, query or fragment")
    return parts


def server(text: str) -> str:
    parts = _address(text)
    return f"{parts.scheme}://{parts.netloc}"


def database(address: SecretStr) -> SecretStr:
    """A SQLite file or a PostgreSQL database. What is wrong is said without the address: it may hold a password."""
    text = address.get_secret_value()
    if re.fullmatch(r"sqlite(\+aiosqlite)?:///.+", text) or _is_postgresql(text):
        return address
    raise ValueError(
        "must be sqlite:///path/to/file.db or postgresql://user:password@host/database, with what is not a letter or "
        "digit in the password written as %XX"
    )


def _is_postgresql(text: str) -> bool:
    """With a database, because the default would be one that is called as the user is; without white space, which an
    address never has, and without the signs that end it in the middle of a password."""
    if re.fullmatch(r"(?:postgresql|postgres)(?:\+asyncpg)?://[^\s#]*", text) is None:
        return False
    try:
        parts = urlsplit(text)
        # Several hosts may have several ports, which is for PostgreSQL to read.
        port = None if "," in parts.netloc else parts.port
    except ValueError:
        return False
    return port != 0 and parts.netloc.count("@") <= 1 and re.fullmatch(r"/[^/@]+", parts.path) is not None


def without_password(address: SecretStr) -> str:
    """A database's address as it may be shown: `postgresql://gateway:***@host/gateway`."""
    text = address.get_secret_value()
    hidden = re.sub(r"(://[^:@/?]*):[^@/?]*@", r"\1:***@", text)
    return re.sub(r"([?&][^=&]*password[^=&]*=)[^&]*", r"\1***", hidden, flags=re.IGNORECASE)


def network(text: str) -> str:
    """An address or network whose `X-Forwarded-For` is believed. Everybody is refused: then any client could choose
    its own address.
    """
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        hint = "; to trust everybody is refused, list your proxies" if text == "*" else f": {error}"
        raise ValueError(f"“{text}” is no address or network{hint}") from None
    if network.prefixlen == 0 or (network.version == 6 and network.overlaps(_MAPPED) and network.prefixlen <= 96):
        raise ValueError(f"“{text}” would trust everybody, list your proxies")
    return text


def secret(key: SecretStr) -> SecretStr:
    """Security row T25: a secret that can be guessed signs sessions for anybody, so the process refuses to start with
    one.
    """
    data = key.get_secret_value().encode("utf-8", "surrogatepass")
    if len(data) < 32:
        raise ValueError("must be at least 32 bytes long; `openssl rand -hex 32` makes a good one")
    if _is_weak(data):
        raise ValueError("is too easy to guess; `openssl rand -hex 32` makes a good one")
    return key


def _is_weak(data: bytes) -> bool:
    few_bytes = len(set(data)) < 8
    few_steps = len({after - before for before, after in itertools.pairwise(data)}) < 8
    repeats = data in (data + data)[1:-1]
    placeholder = re.search(rb"change.?(me|this)|password|secret|example|default|insecure|-----begin", data.lower())
    return few_bytes or few_steps or repeats or placeholder is not None


def rate(text: str) -> str:
    """How often something may happen: one rate, in a form that the library `limits` reads, too, of at most a day."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError(f"“{text}” is not a rate such as “30/minute” or “100/10 seconds”")
    amount, units, unit = int(found[1]), int(found[2] or 1), found[3]
    if not 1 <= amount <= MOST_OF_A_RATE or not 1 <= units * _SECONDS[unit] <= _SECONDS["day"]:
        raise ValueError(f"“{text}” is not between 1 and {MOST_OF_A_RATE} in at most a day")
    return text


def route(text: str) -> str:
    if re.fullmatch(r"(GET|POST|PUT|PATCH|DELETE) /[^\s?#]*", text) is None:
        raise ValueError(f"“{text}” is not a method and a path such as “GET /vhs/queryvideo”")
    return text
