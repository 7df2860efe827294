"""What a setting about other people's logins must look like: functions that return a value made plain, or raise
ValueError in words. They know no setting by name.
"""

import ipaddress
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
"""Signatures with public keys that python-jose 3.5 can verify. It has neither EdDSA nor RSASSA-PSS."""
EVERYBODY: Final = "*"

_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,63}")
_NOT_FOR_THIS: Final = frozenset(
    ("authorization", "cookie", "host", "origin", "referer", "connection", "content-type", "content-length", "accept")
) | {"user-agent", "upgrade", "transfer-encoding", "x-api-key", "x-forwarded-for", "x-forwarded-proto"}
_UNSTEADY: Final = frozenset(("email", "preferred_username", "name", "nickname", "upn", "unique_name"))
_LONGEST_SECRET: Final = 4096


def address(text: str) -> str:
    """An https address; http only on this machine, because whoever can change what comes from there can be anybody."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(f"“{text}” is not an absolute https address")
    if re.search(r"[\s#]", text) or not text.isascii():
        raise ValueError(f"“{text}” holds what an address of a server has not")
    if parts.scheme == "http" and not is_here(parts.hostname):
        raise ValueError(f"“{text}” must begin with https: what comes over http can be changed on the way")
    return text


def issuer(text: str) -> str:
    """An issuer as it names itself, to the letter: a slash at the end belongs to it."""
    if "?" in text:
        raise ValueError(f"“{text}” is no issuer: it has no query")
    return address(text)


def is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def algorithm(name: str) -> str:
    """A signature that can be verified with a public key."""
    if name in ALGORITHMS:
        return name
    if name.upper() in ("EDDSA", "ED25519", "ED448") or name.startswith("PS"):
        raise ValueError(f"“{name}” cannot be verified by the library in use; choose among {', '.join(ALGORITHMS)}")
    raise ValueError(f"“{name}” is none of {', '.join(ALGORITHMS)}")


def subject_claim(name: str) -> str:
    """The claim that says for ever who somebody is. Names and e-mail addresses change, and are given to others."""
    if name in _UNSTEADY:
        raise ValueError(f"“{name}” can change, and be given to somebody else; take “sub”, or another id")
    return name


def domain(text: str) -> str:
    """The part of an e-mail address behind the “@”, or “*” for everybody whom the issuer knows."""
    plain = text.lower()
    if text != EVERYBODY and _DOMAIN.fullmatch(plain) is None:
        raise ValueError(f"“{text}” is no domain such as example.org; “*” is everybody whom the issuer knows")
    return plain


def header(name: str) -> str:
    """A header that names who somebody is, and means nothing else."""
    if _HEADER.fullmatch(name) is None:
        raise ValueError(f"“{name}” is no header such as X-Forwarded-User")
    if name.lower() in _NOT_FOR_THIS:
        raise ValueError(f"“{name}” means something else already")
    return name


def secret_of(path: Path) -> str:
    """What a file of one secret holds, without the end of its line. Raises ValueError."""
    try:
        data = path.expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"“{path}” cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        text = data[: _LONGEST_SECRET + 1].decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f"“{path}” is no text") from None
    if not text or len(data) > _LONGEST_SECRET:
        raise ValueError(f"“{path}” is empty, or too long for a secret")
    return text
