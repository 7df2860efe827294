"""Keys of issuers, and tokens signed with them that say whatever a test wants."""

import base64
import hmac
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

_HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
_CURVES = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}


def segment(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return segment(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@dataclass(frozen=True, slots=True)
class RsaKey:
    """A key pair of RSA."""

    private: rsa.RSAPrivateKey
    kid: str | None

    def jwk(self, **changed: Any) -> dict[str, Any]:
        """The public half; a change to None takes an entry away."""
        numbers = self.private.public_key().public_numbers()
        entry = {"kty": "RSA", "use": "sig", "alg": "RS256", "n": number(numbers.n), "e": number(numbers.e)}
        return _changed(entry, self.kid, changed)

    def sign(self, header: object, payload: object, *, algorithm: str = "RS256") -> str:
        """A token, whatever its header says of the algorithm."""
        text = f"{segment(header)}.{segment(payload)}"
        signature = self.private.sign(text.encode(), padding.PKCS1v15(), _HASHES[algorithm[2:]]())
        return f"{text}.{segment(signature)}"


@dataclass(frozen=True, slots=True)
class EcKey:
    """A key pair of an elliptic curve."""

    private: ec.EllipticCurvePrivateKey
    curve: str
    kid: str | None

    def jwk(self, **changed: Any) -> dict[str, Any]:
        """The public half; a change to None takes an entry away."""
        numbers, size = self.private.public_key().public_numbers(), (self.private.key_size + 7) // 8
        entry = {
            "kty": "EC",
            "use": "sig",
            "crv": self.curve,
            "x": number(numbers.x, size),
            "y": number(numbers.y, size),
        }
        return _changed(entry, self.kid, changed)

    def sign(self, header: object, payload: object, *, algorithm: str = "ES256") -> str:
        text = f"{segment(header)}.{segment(payload)}"
        der = self.private.sign(text.encode(), ec.ECDSA(_HASHES[algorithm[2:]]()))
        size = (self.private.key_size + 7) // 8
        return f"{text}.{segment(b''.join(part.to_bytes(size, 'big') for part in decode_dss_signature(der)))}"


def with_hmac(header: object, payload: object, secret: bytes, *, digest: str = "sha256") -> str:
    """A token that is signed with a secret."""
    text = f"{segment(header)}.{segment(payload)}"
    return f"{text}.{segment(hmac.digest(secret, text.encode(), digest))}"


@cache
def rsa_key(kid: str | None = "a", *, bits: int = 2048) -> RsaKey:
    """The same one each time: they take long to make."""
    return RsaKey(rsa.generate_private_key(public_exponent=65537, key_size=bits), kid)


@cache
def ec_key(kid: str | None = "e", *, curve: str = "P-256") -> EcKey:
    return EcKey(ec.generate_private_key(_CURVES[curve]()), curve, kid)


def _changed(entry: dict[str, Any], kid: str | None, changed: dict[str, Any]) -> dict[str, Any]:
    named = entry if kid is None else {**entry, "kid": kid}
    return {name: value for name, value in {**named, **changed}.items() if value is not None}
