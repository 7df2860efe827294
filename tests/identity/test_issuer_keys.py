"""The keys of an issuer: which are believed, and for what."""

from typing import Any

import pytest

from gateway.config.issuer_checks import ALGORITHMS
from gateway.identity.issuer_keys import MOST_KEYS, IssuerKeys, UnusableKeysError, read_keys
from tests.identity.forging import ec_key, number, rsa_key

A, B, E = rsa_key("a"), rsa_key("b"), ec_key("e")


def keys(*listed: Any, algorithms: tuple[str, ...] = ALGORITHMS) -> IssuerKeys:
    return read_keys({"keys": list(listed)}, algorithms=algorithms)


def names(found: IssuerKeys) -> set[tuple[str | None, str]]:
    return set(found.by_name)


def test_a_key_is_pinned_to_its_algorithm() -> None:
    """A key verifies what it says, or what its kind can; never anything else, and only what the settings allow."""
    assert names(keys(A.jwk(), E.jwk())) == {("a", "RS256"), ("e", "ES256")}
    assert names(keys(A.jwk(alg=None))) == {("a", "RS256"), ("a", "RS384"), ("a", "RS512")}
    assert names(keys(A.jwk(alg=None), algorithms=("RS384",))) == {("a", "RS384")}
    for curve, algorithm in (("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512")):
        assert names(keys(ec_key(curve, curve=curve).jwk())) == {(curve, algorithm)}


@pytest.mark.parametrize("alg", ["ES256", "HS256", "none", "RSA-OAEP", "PS256", "EdDSA", 5, ["RS256"]])
def test_T02_a_key_of_rsa_is_for_nothing_else(alg: Any) -> None:
    """A key that says it is for another algorithm than its kind has verifies nothing."""
    with pytest.raises(UnusableKeysError):
        keys(A.jwk(alg=alg))


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "kid": "a", "alg": "HS256", "k": "c2VjcmV0" * 8},
        {"kty": "oct", "kid": "a", "alg": "RS256", "k": "c2VjcmV0" * 8},
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "kid": "a",
            "alg": "EdDSA",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        },
        A.jwk(d="AQAB"),
        A.jwk(k="AQAB"),
        A.jwk(use="enc"),
        A.jwk(key_ops=["sign"]),
        A.jwk(key_ops="verify"),
        A.jwk(kid=""),
        A.jwk(kid=5),
        A.jwk(kid="k" * 257),
        A.jwk(n=None),
        A.jwk(n=5),
        A.jwk(n=""),
        A.jwk(n="+/=="),
        A.jwk(e=number(4)),
        A.jwk(e=number(1)),
        rsa_key("short", bits=1024).jwk(),
        A.jwk(n=number(2**9000 + 1)),
        E.jwk(crv="P-384"),
        E.jwk(crv="secp256k1"),
        E.jwk(crv=None),
        E.jwk(crv=["P-256"]),
        E.jwk(x=number(1)),
        E.jwk(y=None),
        None,
        "key",
        [],
        {},
    ],
)
def test_what_is_no_good_key_is_passed_over(entry: Any) -> None:
    """Secrets, private keys, keys for other uses, short and broken ones verify nothing, and do not hide good ones."""
    with pytest.raises(UnusableKeysError):
        keys(entry)
    assert names(keys(entry, B.jwk())) == {("b", "RS256")}


def test_two_keys_of_one_name_are_none() -> None:
    """Two that cannot be told apart are both passed over; one name for two kinds is no doubt."""
    with pytest.raises(UnusableKeysError):
        keys(A.jwk(), B.jwk(kid="a"))
    assert names(keys(A.jwk(), ec_key("a").jwk())) == {("a", "RS256"), ("a", "ES256")}


def test_a_key_without_a_name_is_for_tokens_without_one() -> None:
    """A token that names no key is verified with the only one there is for its algorithm, else with none."""
    unnamed = keys(rsa_key(None).jwk())
    assert unnamed.find(None, "RS256") is not None
    assert unnamed.find("a", "RS256") is None
    assert keys(A.jwk()).find(None, "RS256") is not None
    assert keys(A.jwk(), B.jwk()).find(None, "RS256") is None


@pytest.mark.parametrize("document", [None, [], "x", {}, {"keys": {}}, {"keys": None}, {"keys": []}])
def test_what_is_no_set_of_keys_is_said_so(document: object) -> None:
    """Anything but a JWK set with a usable key is an error of its own."""
    with pytest.raises(UnusableKeysError):
        read_keys(document, algorithms=ALGORITHMS)


def test_a_set_is_read_so_far_and_no_further() -> None:
    """Of an endless set of keys only the first ones cost anything."""
    with pytest.raises(UnusableKeysError):
        keys(*([{}] * MOST_KEYS), A.jwk())
