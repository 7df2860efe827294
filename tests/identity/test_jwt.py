"""Our own JWTs, and everything that is not one. The ids are rows of the list of attacks."""

import base64
import hashlib
import hmac
import json
import warnings
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jose import JWSError, jws

from gateway.identity.jwt import LEEWAY, MAX_LIFETIME, Claims, ExpiredJwt, InvalidJwt, Key, Keys, Typ, sign, verify

NOW = 1_800_000_000
SECRET = bytes(range(32))
KEYS = Keys([Key("k1", SECRET)])
GOOD = Claims(iss="gateway", aud="comfyui", sub="8de2a4f0ef57cf2aeb53", jti="j-1", iat=NOW, exp=NOW + 900, epoch=3)
HEADER: dict[str, Any] = {"alg": "HS256", "typ": "access", "kid": "k1"}


def segment(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: object, payload: object, *, secret: bytes = SECRET) -> str:
    """A token signed with our secret (or another one), whatever it says."""
    body = f"{segment(header)}.{segment(payload)}"
    return f"{body}.{segment(hmac.digest(secret, body.encode(), 'sha256'))}"


def with_claims(**claims: object) -> str:
    return forged(HEADER, {**asdict(GOOD), **claims})


def without_claim(name: str) -> str:
    return forged(HEADER, {key: value for key, value in asdict(GOOD).items() if key != name})


def with_header(**entries: object) -> str:
    return forged({**HEADER, **entries}, asdict(GOOD))


def checked(text: str, *, keys: Keys = KEYS, typ: Typ = "access", now: float = NOW) -> Claims:
    return verify(text, keys, typ=typ, audience="comfyui", issuer="gateway", now=now)


def refused(text: str, *, keys: Keys = KEYS, now: float = NOW) -> str:
    with pytest.raises(InvalidJwt) as caught:
        checked(text, keys=keys, now=now)
    return str(caught.value)


def test_what_is_signed_verifies() -> None:
    """A token that we sign is accepted, and says what it was made to say; what this file forges is as good."""
    assert checked(sign(GOOD, KEYS, typ="access")) == GOOD
    assert checked(forged(HEADER, asdict(GOOD))) == GOOD


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "hs256"])
@pytest.mark.parametrize("signature", ["", segment(bytes(32)), None])
def test_T01_no_other_algorithm(alg: str, signature: str | None) -> None:
    """T01: alg none in any spelling, with or without a signature, and every algorithm but HS256, is refused."""
    text = with_header(alg=alg)
    refused(text if signature is None else f"{text.rpartition('.')[0]}.{signature}")


def test_T02_a_public_key_is_no_secret() -> None:
    """T02: HS256 with a public key as the secret, as PEM, OpenSSH, DER or JWK n, is refused."""
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem, der = (
        public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
    )
    ssh = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    modulus = segment(public.public_numbers().n.to_bytes(256, "big")).encode()
    for secret in (pem, der, ssh, modulus):
        assert refused(forged(HEADER, asdict(GOOD), secret=secret)) == "unreadable: JWSError"
        refused(forged({**HEADER, "kid": "rsa"}, asdict(GOOD), secret=secret))
        refused(forged({**HEADER, "alg": "RS256"}, asdict(GOOD), secret=secret))


@pytest.mark.parametrize("alg", [[], {}, 5, None, True, ["HS256"], {"HS256": 1}, "x" * 700])
def test_T03_odd_algorithms_are_refused(alg: object) -> None:
    """T03: a header whose alg is a list, an object, a number or far too long is refused, never an error of ours."""
    refused(with_header(alg=alg))


def test_T03_a_header_of_one_megabyte_is_refused() -> None:
    """T03: a header of 1 MB, or without alg, is refused."""
    refused(with_header(alg="x" * 1_000_000))
    refused(forged({"typ": "access", "kid": "k1"}, asdict(GOOD)))


def test_T04_expiry_is_exact() -> None:
    """T04: at `exp` itself a token is over, also one second beyond any leeway; one moment before it is good."""
    text = sign(GOOD, KEYS, typ="access")
    assert checked(text, now=GOOD.exp - 0.001) == GOOD
    for late in (0, 1, LEEWAY + 1, 10 * MAX_LIFETIME):
        with pytest.raises(ExpiredJwt):
            checked(text, now=GOOD.exp + late)


@pytest.mark.parametrize("exp", ["9999999999", None, 1800000900.0, True, [], {}, -1, 0, NOW, 10**400])
def test_T04_odd_expiries_are_refused(exp: object) -> None:
    """T04: an expiry that is no whole number of seconds after `iat` is refused."""
    refused(with_claims(exp=exp))


@pytest.mark.parametrize("number", ["1e400", "NaN", "Infinity", "-Infinity", "1" * 2000])
def test_T04_numbers_that_are_none_are_refused(number: str) -> None:
    """T04: an expiry that JSON does not have, or no clock reaches, is refused."""
    payload = json.dumps(asdict(GOOD)).replace(str(GOOD.exp), number)
    refused(forged(HEADER, payload.encode()))


@pytest.mark.parametrize("name", ["exp", "iat", "sub", "aud", "iss", "jti", "epoch"])
def test_T04_T06_T07_no_claim_may_be_missing(name: str) -> None:
    """T04, T06, T07: a token without one of our claims is refused."""
    refused(without_claim(name))


def test_T04_no_token_lives_for_ever() -> None:
    """T04: a lifetime that we never give is refused, though the signature is right."""
    refused(with_claims(exp=NOW + MAX_LIFETIME + 1))
    assert checked(with_claims(exp=NOW + MAX_LIFETIME)).exp == NOW + MAX_LIFETIME


def test_T05_from_the_future() -> None:
    """T05: a token that was signed later than now, beyond the leeway between clocks, is refused."""
    late = replace(GOOD, iat=NOW + LEEWAY + 1, exp=NOW + LEEWAY + 901)
    refused(sign(late, KEYS, typ="access"))
    assert checked(sign(replace(GOOD, iat=NOW + LEEWAY), KEYS, typ="access")).iat == NOW + LEEWAY


@pytest.mark.parametrize("nbf", [NOW + 3600, NOW - 1, "x", None])
def test_T05_not_before_is_none_of_our_claims(nbf: object) -> None:
    """T05: we sign no `nbf`, so a token that has one is refused, in the future or not."""
    refused(with_claims(nbf=nbf))


@pytest.mark.parametrize("aud", ["other", "", None, 5, {}, [], ["other"], ["other", 5], "comfyui "])
def test_T06_for_others(aud: object) -> None:
    """T06: a token for another audience is refused."""
    refused(with_claims(aud=aud))


def test_T06_a_list_with_ours_in_it() -> None:
    """T06: a list of audiences that contains ours is accepted."""
    assert checked(with_claims(aud=["other", "comfyui"])) == GOOD


@pytest.mark.parametrize("iss", ["other", "", None, 5, {}, ["gateway"]])
def test_T06_by_others(iss: object) -> None:
    """T06: a token of another issuer is refused."""
    refused(with_claims(iss=iss))


@pytest.mark.parametrize(
    "value", [5, None, "", "x" * 65, "x" * 1500, "a/b", "..", "a\x00", "\u0430dmin", "a b", [], {}, "a\n"]
)
@pytest.mark.parametrize("name", ["sub", "jti"])
def test_T07_odd_ids_are_refused(name: str, value: object) -> None:
    """T07: a subject or id that is a number, empty, long, a path, or written with look-alikes, is refused."""
    refused(with_claims(**{name: value}))


def test_T07_a_subject_of_10_kilobytes_is_refused() -> None:
    """T07: so is one of 10 KB, by its length alone."""
    refused(with_claims(sub="x" * 10_000))


@pytest.mark.parametrize(
    "kid", ["../../dev/null", "' OR 1=1 --", "http://evil.example/key", "k2", "", None, 5, [], {}, ["k1"], "k" * 700]
)
def test_T08_keys_come_from_our_own_few(kid: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """T08: a key id that is a path, SQL, an address, long or unknown is refused without opening anything."""

    def forbidden(*_args: object, **_more: object) -> None:
        raise AssertionError("something was opened")

    monkeypatch.setattr("builtins.open", forbidden)
    monkeypatch.setattr("socket.socket", forbidden)
    monkeypatch.setattr("sqlite3.connect", forbidden)
    reason = refused(with_header(kid=kid))
    monkeypatch.undo()
    assert "AssertionError" not in reason


def test_T08_a_key_id_of_one_megabyte_is_refused() -> None:
    """T08: so is a key id of 1 MB, and a header without one."""
    refused(with_header(kid="k" * 1_000_000))
    refused(forged({"alg": "HS256", "typ": "access"}, asdict(GOOD)))


@pytest.mark.parametrize("name", ["jku", "x5u", "x5c", "x5t", "jwk", "crit", "b64", "zip", "cty", "enc"])
@pytest.mark.parametrize("value", ["https://evil.example/", [], ["exp"], {"kty": "oct", "k": "eA"}, False, None])
def test_T09_no_other_headers(name: str, value: object) -> None:
    """T09: a header beyond alg, typ and kid is refused, whatever it says."""
    refused(with_header(**{name: value}))


@pytest.mark.parametrize(
    "typ", ["session", "refresh", "ticket", "reset", "JWT", "at+jwt", "ACCESS", "", None, 5, ["access"]]
)
def test_T10_another_kind_of_token(typ: object) -> None:
    """T10: a token of another type is not an access token, though we signed it."""
    refused(with_header(typ=typ))


def test_T10_sessions_and_access_tokens_do_not_mix() -> None:
    """T10: a session does not pass as an access token, nor the other way round."""
    both: tuple[Typ, Typ] = ("session", "access")
    for one, other in (both, both[::-1]):
        text = sign(GOOD, KEYS, typ=one)
        assert checked(text, typ=one) == GOOD
        with pytest.raises(InvalidJwt):
            checked(text, typ=other)


@pytest.mark.parametrize("length", [4097, 8_000_000])
def test_T14_long_tokens_are_refused_unread(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """T14: a token of 4,097 bytes or 8 MB is refused by its length: nothing is decoded, parsed or computed."""

    def forbidden(*_args: object, **_more: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(base64, "urlsafe_b64decode", forbidden)
    monkeypatch.setattr(json, "loads", forbidden)
    monkeypatch.setattr(jws, "verify", forbidden)
    shape = "a" * 1024 + "." + "a" * (length - 1024 - 45) + "." + "a" * 43
    assert len(shape) == length
    assert refused(shape) == refused("a" * length) == "not in the form of our tokens"


@pytest.mark.parametrize("depth", [300, 740, 100_000])
def test_T15_deep_json_is_refused(depth: int) -> None:
    """T15: a header or payload nested as deep as it gets is refused, not an error of ours."""
    deep = b"[" * depth
    refused(forged(deep, asdict(GOOD)))
    refused(forged(deep + b"]" * depth, asdict(GOOD)))
    refused(forged(HEADER, deep))
    refused(forged(HEADER, b'{"exp":' * depth))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "a.b.c.d.e",
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..aXY.Y2lwaGVydGV4dA.dGFn",
        "\udc80.\udc80.\udc80",
        "é.é.é",
        "\x00",
    ],
)
def test_T17_other_forms_are_refused(text: str) -> None:
    """T17: JWE, five or two segments, and characters that tokens do not have, are refused."""
    refused(text)


@pytest.mark.parametrize(
    "bad", [b"\xff\xfe", b'"\xed\xa0\x80"', b"null", b"[]", b'"x"', b"5", b"", b"{", b"\xef\xbb\xbf{}"]
)
def test_T17_segments_that_are_no_objects(bad: bytes) -> None:
    """T17: a segment that is not an object in UTF-8 JSON is refused."""
    refused(forged(bad or b"\x00", asdict(GOOD)))
    refused(forged(HEADER, bad or b"\x00"))


def test_T17_duplicate_keys_are_refused() -> None:
    """T17: a claim or header that is said twice is refused: two readers could take two values."""
    payload = json.dumps(asdict(GOOD))
    refused(forged(HEADER, (payload[:-1] + ', "sub": "other"}').encode()))
    refused(forged(b'{"alg":"HS256","alg":"HS256","typ":"access","kid":"k1"}', asdict(GOOD)))


def test_a_token_has_one_spelling() -> None:
    """A token in another spelling is refused: with padding, blanks, unused bits set, or more behind the signature."""
    text = sign(GOOD, KEYS, typ="access")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same_bytes = text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]
    changed = ["=", " ", "\n", "A", ".", "==", "\x00", "%3D"]
    for other in (same_bytes, *(text + end for end in changed), *(start + text for start in changed)):
        refused(other)
    refused(text.replace(".", "=.", 1))


@given(st.data())
def test_no_changed_character_is_accepted(data: st.DataObject) -> None:
    """A token with any one character changed is refused."""
    text = sign(GOOD, KEYS, typ="access")
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[place]))
    refused(text[:place] + other + text[place + 1 :])


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{1,40}\.[A-Za-z0-9_-]{1,80}\.[A-Za-z0-9_-]{43}", fullmatch=True))
def test_no_text_makes_it_fail(text: str) -> None:
    """Whatever somebody sends as a JWT, it is InvalidJwt and nothing else."""
    refused(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(asdict(GOOD))), JSON)
def test_no_claim_makes_it_fail(name: str, value: object) -> None:
    """Signed with our own key, whatever one claim says: the claims, or InvalidJwt, and nothing else."""
    with suppress(InvalidJwt):
        assert checked(with_claims(**{name: value})) is not None


def test_T18_keys_change_without_a_gap() -> None:
    """T18: with a new key in front, both verify; the old one until its end, and then not."""
    old = sign(GOOD, KEYS, typ="access")
    keys = Keys([Key("k2", bytes(32)), Key("k1", SECRET, until=NOW + 100)])
    new = sign(GOOD, keys, typ="access")
    assert json.loads(base64.urlsafe_b64decode(new.split(".")[0] + "==")) == {
        "alg": "HS256",
        "kid": "k2",
        "typ": "access",
    }
    assert checked(old, keys=keys, now=NOW + 99.9) == checked(new, keys=keys, now=NOW + 99.9) == GOOD
    refused(old, keys=keys, now=NOW + 100)
    assert checked(new, keys=keys, now=NOW + 100) == GOOD
    refused(new)


def test_T18_a_key_does_not_answer_to_another_name() -> None:
    """T18: what one key signed does not verify under the name of another."""
    keys = Keys([Key("k2", bytes(32)), Key("k1", SECRET)])
    refused(with_header(kid="k2"), keys=keys)


@pytest.mark.parametrize(
    ("kid", "secret"), [("k1", b""), ("k1", bytes(31)), ("", SECRET), ("a/b", SECRET), ("k" * 65, SECRET)]
)
def test_T25_weak_keys_cannot_be_made(kid: str, secret: bytes) -> None:
    """T25: a key shorter than 32 bytes, or without a plain name, cannot exist."""
    with pytest.raises(ValueError, match="32 bytes"):
        Key(kid, secret)


def test_keys_need_names_of_their_own() -> None:
    """Two keys of one name, and no key at all, are an error at the start and not at the first token."""
    for keys in ([], [Key("k1", SECRET), Key("k1", bytes(32))]):
        with pytest.raises(ValueError, match="key"):
            Keys(keys)


def test_every_error_of_the_library_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever python-jose raises, now or in its next version, it is InvalidJwt and so a 401."""
    text = sign(GOOD, KEYS, typ="access")
    for error in (JWSError("x"), TypeError("x"), ValueError("x"), RecursionError("x"), AttributeError("x")):

        def broken(*_args: object, error: Exception = error, **_more: object) -> None:
            raise error

        monkeypatch.setattr(jws, "verify", broken)
        assert refused(text) == f"unreadable: {type(error).__name__}"


def test_N06_reasons_and_texts_quote_nothing() -> None:
    """N06: neither the reason of a refusal nor the text of a key shows anything of a token or a secret."""
    assert "leak" not in refused(with_claims(sub="leak/leak")) + refused(with_header(kid="leak"))
    assert SECRET.hex() not in repr(Key("k1", SECRET)) and repr(SECRET) not in repr(Key("k1", SECRET))


def test_the_library_warns_of_nothing() -> None:
    """Signing and verifying give no warnings, which the tests would turn into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checked(sign(GOOD, KEYS, typ="access")) == GOOD


def test_the_signature_is_hmac_with_sha_256() -> None:
    """RFC 7515: the signature of our tokens is HMAC-SHA-256 over the first two segments."""
    body, _, signature = sign(GOOD, KEYS, typ="session").rpartition(".")
    assert signature == segment(hmac.new(SECRET, body.encode(), hashlib.sha256).digest())
