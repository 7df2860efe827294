"""Tokens of configured issuers, and everything that is none. The ids are rows of the list of attacks."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.issuer_checks import ALGORITHMS
from gateway.identity.issuer_jwt import (
    MAX_LENGTH,
    ExpiredJwt,
    InvalidJwt,
    Signed,
    UnknownKeyError,
    issuer_named,
    verify,
)
from gateway.identity.issuer_keys import IssuerKeys, read_keys
from tests.identity.forging import ec_key, rsa_key, segment, with_hmac

NOW = 1_800_000_000
ISSUER = "https://login.example/realms/main"
A, B, E = rsa_key("a"), rsa_key("b"), ec_key("e")
KEYS = read_keys({"keys": [A.jwk(), B.jwk(), E.jwk()]}, algorithms=ALGORITHMS)
HEADER: dict[str, Any] = {"alg": "RS256", "kid": "a", "typ": "JWT"}
CLAIMS: dict[str, Any] = {"iss": ISSUER, "aud": "comfy", "sub": "u-1", "iat": NOW, "exp": NOW + 300}


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**values, **changes}.items() if value is not ...}


def token(header: dict[str, Any] | None = None, **claims: Any) -> str:
    """Signed by the issuer; `...` takes something away."""
    return A.sign(changed(HEADER, header or {}), changed(CLAIMS, claims))


def checked(text: str, *, keys: IssuerKeys = KEYS, now: float = NOW, leeway: float = 30) -> Signed:
    return verify(text, keys, issuer=ISSUER, audiences=("comfy", "other"), leeway=leeway, now=now)


def refused(text: str, **options: Any) -> str:
    with pytest.raises(InvalidJwt) as caught:
        checked(text, **options)
    return str(caught.value)


def test_what_the_issuer_signs_is_believed() -> None:
    """A token signed with a key of the issuer, for us and now, says what it says; ECDSA as well as RSA."""
    signed = checked(token(groups=["x"]))
    assert (signed.issuer, signed.algorithm, signed.issued_at, signed.expires_at) == (ISSUER, "RS256", NOW, NOW + 300)
    assert signed.claims["groups"] == ["x"]
    assert checked(E.sign({"alg": "ES256", "kid": "e"}, CLAIMS)).algorithm == "ES256"
    assert checked(token({"kid": ..., "typ": ...}), keys=read_keys({"keys": [A.jwk()]}, algorithms=["RS256"]))
    assert checked(token({"typ": "at+jwt", "x5t": "abc", "x5t#S256": "def"}, aud=["else", "other"], azp="z"))


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS384", "RS512", "ES256", "PS256"]
)
@pytest.mark.parametrize("signature", ["", segment(bytes(256)), None])
def test_T01_no_other_algorithm(alg: str, signature: str | None) -> None:
    """`alg: none` in any spelling, with or without a signature, and any algorithm but the key's own, is refused."""
    text = token({"alg": alg})
    refused(text if signature is None else f"{text.rpartition('.')[0]}.{signature}")


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512", "RS256"])
@pytest.mark.parametrize("kid", ["a", "e", None, "unknown"])
def test_T02_the_public_key_is_no_secret(alg: str, kid: str | None) -> None:
    """A token signed by HMAC with the issuer's public key, as PEM, DER, OpenSSH, JWK or its n, is refused."""
    public = A.private.public_key()
    secrets = [public.public_bytes(kind, PublicFormat.SubjectPublicKeyInfo) for kind in (Encoding.PEM, Encoding.DER)]
    secrets.append(public.public_bytes(Encoding.PEM, PublicFormat.PKCS1))
    secrets.append(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    secrets += [json.dumps(A.jwk()).encode(), A.jwk()["n"].encode(), b""]
    header = {"alg": alg, "typ": "JWT"} | ({} if kid is None else {"kid": kid})
    for secret in secrets:
        text = with_hmac(header, CLAIMS, secret, digest=f"sha{'256' if alg == 'RS256' else alg[2:]}")
        refused(text)
        # Padded to the length that a signature of RSA has, it is refused for what it is, not for its length.
        refused(text + "A" * (342 - len(text.rpartition(".")[2])))


@pytest.mark.parametrize("alg", [[], {}, 5, None, True, ..., ["RS256"], {"RS256": 1}, "x" * 700])
def test_T03_odd_algorithms(alg: Any) -> None:
    """An alg that is a list, an object, a number, missing or long is refused, and never another error."""
    refused(token({"alg": alg}))


def test_T03_a_header_of_one_megabyte() -> None:
    """A header of 1 MB is refused."""
    refused(token({"alg": "x" * 1_000_000}))


def test_T04_expiry_is_exact() -> None:
    """At `exp` itself a token is over, and one second beyond any leeway; one moment before it is good."""
    assert checked(token(), now=NOW + 299.999)
    for late in (0, 1, 31, 10**9):
        with pytest.raises(ExpiredJwt):
            checked(token(), now=NOW + 300 + late)


@pytest.mark.parametrize("exp", ["9999999999", None, ..., True, [], {}, -1, 0, NOW, NOW - 1, 10**30, 10**400])
def test_T04_odd_expiries(exp: Any) -> None:
    """An expiry that is no number after `iat` and within a year is refused."""
    refused(token(exp=exp))


@pytest.mark.parametrize("written", ["1e400", "NaN", "Infinity", "-Infinity", "1" * 4000])
def test_T04_numbers_that_are_none(written: str) -> None:
    """An expiry that JSON does not have, or no clock reaches, is refused."""
    payload = json.dumps(CLAIMS).replace(str(NOW + 300), written)
    refused(A.sign(HEADER, payload.encode()))


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_T05_from_the_future(name: str) -> None:
    """A token that was signed, or begins to hold, later than the leeway allows is refused; within it, it is not."""
    refused(token(**{name: NOW + 31}))
    assert checked(token(**{name: NOW + 30}))
    refused(token(**{name: NOW + 1}), leeway=0)
    for odd in ("1", None, [], True):
        refused(token(**{name: odd}))
    if name == "iat":
        refused(token(iat=...))


@pytest.mark.parametrize("aud", [..., None, "", "comf", "comfy ", "COMFY", [], ["x"], [["comfy"]], {"comfy": 1}, 5])
def test_T06_for_others(aud: Any) -> None:
    """A missing or wrong audience, also in a list, is refused."""
    refused(token(aud=aud))


@pytest.mark.parametrize("iss", [..., None, "", ISSUER + "/", ISSUER.upper(), "https://login.example", [ISSUER], 5])
def test_T06_by_others(iss: Any) -> None:
    """Another issuer, to the letter, is refused, though the key is right."""
    refused(token(iss=iss))


@pytest.mark.parametrize(
    "sub",
    [..., None, 5, "", " ", "x" * 256, "x" * 10_000, "a/b", "..", "a..b", "a\x00", "\u0430nn", "a\nb", [], {}, "-a"],
)
def test_T07_odd_subjects(sub: Any) -> None:
    """A subject that is missing, no text, empty, long, a path or a look-alike is refused."""
    refused(token(sub=sub))


@pytest.mark.parametrize(
    "sub", ["u-1", "auth0|5f7c8ec7", "ann@example.org", "f:8a2:ann", "00u1a2b3", "x" * 255, "AAA+b="]
)
def test_subjects_as_issuers_write_them(sub: str) -> None:
    """The subjects of the issuers in use are taken as they are."""
    assert checked(token(sub=sub)).claims["sub"] == sub


@pytest.mark.parametrize(
    "kid",
    ["../../dev/null", "' OR 1=1 --", "http://evil.invalid/k", "unknown", "", "A", "a\x00", "k" * 700, "k" * 10**6],
)
def test_T08_odd_key_ids(kid: str) -> None:
    """A key id that is a path, SQL, an address, unknown or long finds no key."""
    refused(token({"kid": kid}))


@pytest.mark.parametrize("kid", [None, 5, [], {}, ["a"], True])
def test_T08_key_ids_of_other_types(kid: Any) -> None:
    """A key id that is no text is refused, or finds no key, where there are several."""
    refused(token({"kid": kid}))


def test_T08_the_key_of_another_name() -> None:
    """A token is verified with the key that it names, and no other one of the issuer is tried."""
    assert "unreadable" in refused(token({"kid": "b"}))


@pytest.mark.parametrize("name", ["jku", "x5u", "x5c", "jwk", "crit", "b64", "zip", "enc", "p2c", "cty", "nonce"])
@pytest.mark.parametrize("value", ["http://evil.invalid/", ["exp"], A.jwk(), False, None])
def test_T09_other_headers(name: str, value: Any) -> None:
    """A token with jku, x5u, jwk, crit, b64 or anything else that could change how it is read is refused."""
    refused(token({name: value}))


def test_T09_a_key_of_its_own() -> None:
    """A token that brings its own key, and is signed with it, is refused."""
    own = rsa_key("own")
    refused(own.sign({**HEADER, "kid": "own", "jwk": own.jwk()}, CLAIMS))
    refused(own.sign({**HEADER, "jwk": own.jwk(kid="a")}, CLAIMS))
    refused(own.sign(HEADER, CLAIMS))


@pytest.mark.parametrize(
    "typ", ["logout+jwt", "secevent+jwt", "dpop+jwt", "refresh", "", None, 5, [], "session", "access"]
)
def test_T10_other_kinds_of_token(typ: Any) -> None:
    """A logout, refresh or any other token of the issuer is no access token."""
    refused(token({"typ": typ}))


@pytest.mark.parametrize(
    "claims", [{"events": {}}, {"typ": "Refresh"}, {"typ": "Offline"}, {"typ": "Logout"}, {"typ": 5}]
)
def test_T10_tokens_that_say_inside_what_they_are(claims: dict[str, Any]) -> None:
    """A token that says in its claims that it is of another kind is refused."""
    refused(token(**claims))


def test_T14_long_tokens() -> None:
    """A token that is longer than allowed is refused before it is looked at."""
    refused(token(groups=["g" * MAX_LENGTH]))
    refused("a" * 8_000_000)
    assert issuer_named("a" * 8_000_000) is None


@pytest.mark.parametrize("depth", [300, 740, 100_000])
def test_T15_deep_json(depth: int) -> None:
    """A header or claims nested as deep as it gets are refused; never an error of another kind."""
    refused(A.sign(b"[" * depth, CLAIMS))
    refused(A.sign(b'{"alg":' * depth, CLAIMS))
    deep = A.sign(HEADER, b'{"iss":' * depth)
    refused(deep)
    assert issuer_named(deep) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c.d.e",
        token() + ".",
        token() + "=",
        "." + token(),
        token().replace(".", "..", 1),
        token() + "\n",
        " " + token(),
        token().rpartition(".")[0] + ".",
        "é" + token(),
        "\ud800.\ud800.\ud800",
        A.sign(b"\xff\xfe", CLAIMS),
        A.sign(HEADER, b"\xff\xfe"),
        A.sign(b"null", CLAIMS),
        A.sign(HEADER, b"[]"),
        A.sign(HEADER, b"5"),
        A.sign(b'{"alg":"none","alg":"RS256","kid":"a"}', CLAIMS),
        A.sign(HEADER, json.dumps(CLAIMS)[:-1].encode() + b', "sub": "admin"}'),
    ],
)
def test_T17_other_forms(text: str) -> None:
    """JWE, other numbers of segments, other spellings, what is no UTF-8, no object or says a thing twice is refused."""
    refused(text)


def test_T17_one_spelling_of_each_token() -> None:
    """No other text stands for the same token: neither bits that do not count nor characters of another alphabet."""
    text = E.sign({"alg": "ES256", "kid": "e"}, CLAIMS)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for other in alphabet:
        if other != text[-1]:
            refused(text[:-1] + other)


def test_T18_the_old_key_and_the_new_one() -> None:
    """While both keys are listed both verify; a key that is no longer listed is unknown, which a newer set may mend."""
    old, new = token(), B.sign({**HEADER, "kid": "b"}, CLAIMS)
    assert checked(old) and checked(new)
    after = read_keys({"keys": [B.jwk()]}, algorithms=ALGORITHMS)
    assert checked(new, keys=after)
    with pytest.raises(UnknownKeyError):
        checked(old, keys=after)


def test_whom_a_token_names() -> None:
    """The issuer that a token names is read without a key; what is ours, or in no form, names nobody."""
    assert issuer_named(token()) == ISSUER
    assert issuer_named(with_hmac(HEADER, CLAIMS, b"x" * 32)) is None
    assert issuer_named(A.sign(HEADER, {"iss": 5})) is None
    assert issuer_named("a.b.c") is None


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: f"{segment(data)}.{segment(data)}.{'A' * 342}"))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    """Whatever comes is InvalidJwt and no other error, and naming its issuer never fails."""
    refused(text)
    issuer_named(text)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_any_value_of_a_claim_is_no_other_error(value: Any) -> None:
    """Odd values in a signed token are refused or believed, and nothing else happens."""
    for name in ("iss", "aud", "sub", "iat", "exp", "nbf", "typ"):
        try:
            checked(token(**{name: value}))
        except InvalidJwt:
            continue
