"""The public keys of an issuer (RFC 7517), each pinned to the algorithms that it may verify. It does not know where the
document comes from.

What a document lists is not believed, but judged: only keys that are public, for signatures, and long enough; a key of
RSA verifies no ECDSA, and none is ever a secret of HMAC. Two keys that cannot be told apart are none.
"""

import base64
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from jose.backends.base import Key as JoseKey
from jose.exceptions import JOSEError
from jose.jwk import construct

MOST_KEYS: Final = 64
RSA_BITS: Final = range(2048, 8193)
"""Shorter ones can be broken; longer ones cost more than a token is worth."""

_CURVES: Final[Mapping[str, str]] = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))
_NUMBER: Final = re.compile(r"[A-Za-z0-9_-]{1,1400}", re.ASCII)


class UnusableKeysError(Exception):
    """No key of the document can verify anything. The reason is for the log."""


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """Keys by their name and the algorithm that they verify; the name is None for a key without one."""

    by_name: Mapping[tuple[str | None, str], JoseKey]

    def find(self, kid: str | None, algorithm: str) -> JoseKey | None:
        """The key that a token names; the only one for the algorithm, for a token that names none."""
        if kid is not None:
            return self.by_name.get((kid, algorithm))
        fitting = [key for (_, pinned), key in self.by_name.items() if pinned == algorithm]
        return fitting[0] if len(fitting) == 1 else None


def read_keys(document: object, *, algorithms: Collection[str]) -> IssuerKeys:
    """The keys in a JWK set that verify any of the algorithms. Raises UnusableKeysError if there is none."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise UnusableKeysError("not a set of keys")
    found: dict[tuple[str | None, str], JoseKey] = {}
    twice: set[tuple[str | None, str]] = set()
    for name, key in _usable(islice(listed, MOST_KEYS), algorithms):
        twice |= {name} & found.keys()
        found[name] = key
    kept = {name: key for name, key in found.items() if name not in twice}
    if not kept:
        raise UnusableKeysError(f"none of {len(listed)} keys can verify any of {', '.join(sorted(algorithms))}")
    return IssuerKeys(kept)


def _usable(listed: Iterator[Any], algorithms: Collection[str]) -> Iterator[tuple[tuple[str | None, str], JoseKey]]:
    for entry in listed:
        if not isinstance(entry, dict) or not _is_for_signatures(entry):
            continue
        kid = entry.get("kid")
        if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= 256):
            continue
        numbers = _numbers(entry)
        for algorithm in _pinned(entry) if numbers else ():
            if algorithm in algorithms:
                key = _constructed(numbers, algorithm)
                if key is not None:
                    yield (kid, algorithm), key


def _is_for_signatures(entry: Mapping[str, Any]) -> bool:
    operations = entry.get("key_ops")
    may_verify = operations is None or (isinstance(operations, list) and "verify" in operations)
    return may_verify and entry.get("use", "sig") == "sig" and not _PRIVATE & entry.keys()


def _pinned(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What the key may verify by its kind, and by its own word where it gives one."""
    fits: tuple[str, ...] = ("RS256", "RS384", "RS512")
    if entry["kty"] == "EC":
        fits = (_CURVES[entry["crv"]],)
    said = entry.get("alg")
    return fits if said is None else tuple(name for name in fits if name == said)


def _numbers(entry: Mapping[str, Any]) -> dict[str, str]:
    """The public numbers alone, so that nothing else of the document reaches the library; empty for another kind."""
    match entry.get("kty"), entry.get("crv"):
        case "RSA", _:
            names: tuple[str, ...] = ("n", "e")
        case "EC", curve if isinstance(curve, str) and curve in _CURVES:
            names = ("x", "y")
        case _:
            return {}
    numbers = {name: entry.get(name) for name in names}
    if not all(isinstance(number, str) and _NUMBER.fullmatch(number) for number in numbers.values()):
        return {}
    kind = {"kty": entry["kty"]} | ({"crv": entry["crv"]} if entry["kty"] == "EC" else {})
    return kind | {name: str(number) for name, number in numbers.items()}


def _constructed(numbers: Mapping[str, str], algorithm: str) -> JoseKey | None:
    try:
        if numbers["kty"] == "RSA" and _bits(numbers["n"]) not in RSA_BITS:
            return None
        return construct(dict(numbers), algorithm)
    except (JOSEError, ValueError):
        # Numbers that are no key: a point beside the curve, an even exponent.
        return None


def _bits(number: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(number + "=" * (-len(number) % 4)), "big").bit_length()
