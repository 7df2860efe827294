"""API tokens: their form, their checksum, what is stored of them."""

import hashlib
import hmac
import secrets
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import tokens

ALPHABET = string.ascii_letters + string.digits + string.punctuation + " \n\x00é"
SEEDS = st.binary(min_size=24, max_size=24)


def minted(seed: bytes) -> tokens.MintedToken:
    return tokens.mint(lambda count: seed[:count])


@given(SEEDS)
def test_what_is_minted_can_be_parsed(seed: bytes) -> None:
    """A token is `cgw_<id>_<secret><checksum>`; parsing gives its id and the digest that is stored."""
    token = minted(seed)
    parsed = tokens.parse(token.secret_text)
    assert parsed == tokens.ParsedToken(token.id, token.digest)
    assert token.secret_text.startswith(f"cgw_{token.id}_")
    assert token.digest == hashlib.sha256(token.secret_text.encode()).digest()


@given(SEEDS, st.data())
def test_every_change_of_one_character_is_refused(seed: bytes, data: st.DataObject) -> None:
    """A typing error in any place is refused by the checksum, without a look at the database."""
    text = minted(seed).secret_text
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(ALPHABET.replace(text[place], "")))
    assert tokens.parse(text[:place] + other + text[place + 1 :]) is None


def test_every_change_of_one_character_is_refused_everywhere() -> None:
    """The same, for all places and all characters of one token."""
    text = tokens.mint(secrets.token_bytes).secret_text
    changed = (text[:i] + c + text[i + 1 :] for i in range(len(text)) for c in ALPHABET if c != text[i])
    assert not any(tokens.parse(candidate) for candidate in changed)


@given(SEEDS, st.data())
def test_missing_and_additional_characters_are_refused(seed: bytes, data: st.DataObject) -> None:
    """A token has one length: cut off, doubled or with something around it, it is none."""
    text = minted(seed).secret_text
    place = data.draw(st.integers(0, len(text)))
    more = data.draw(st.text(min_size=1, max_size=3))
    assert tokens.parse(text[:place]) is None or place == len(text)
    assert tokens.parse(text[:place] + more + text[place:]) is None


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    """Whatever somebody sends as a token, the answer is a value."""
    assert tokens.parse(text) is None
    assert tokens.parse("cgw_" + text) is None


@pytest.mark.parametrize(
    "text", ["", "cgw_", "cgw__", "cgw_\udc80" + "a" * 50, "\uff43gw_" + "a" * 48, "cgw_" + "a" * 8_000_000]
)
def test_odd_texts_are_no_tokens(text: str) -> None:
    """Lone surrogates, look-alikes and megabytes are refused like any other text."""
    assert tokens.parse(text) is None


def test_T20_the_secret_has_160_bits_or_more() -> None:
    """T20: a secret cannot be guessed: every bit of 192 random ones changes the token."""
    assert minted(bytes(24)).secret_text != minted(bytes(23) + b"\x01").secret_text
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return bytes(count)

    tokens.mint(random)
    assert max(asked) * 8 >= 160
    texts = {minted((1 << bit).to_bytes(24, "big")).secret_text.split("_")[2] for bit in range(192)}
    assert len(texts) == 192


def test_T20_the_comparison_takes_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """T20: a wrong secret behind a right id is refused by a comparison that does not tell how much was right."""
    compared: list[tuple[bytes, bytes]] = []

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", watched)
    right, wrong = minted(bytes(24)), minted(bytes(23) + b"\x01")
    assert right.id == wrong.id
    sent = tokens.parse(wrong.secret_text)
    assert sent is not None
    assert not tokens.matches(sent, right.digest) and tokens.matches(sent, wrong.digest)
    assert len(compared) == 2


def test_N06_texts_of_tokens_do_not_show_them() -> None:
    """N06: a token that ends up in a traceback or a log line by its text shows its id and nothing of its secret."""
    token = minted(bytes(range(24)))
    assert repr(token) == f"MintedToken(id='{token.id}')"
    assert repr(tokens.parse(token.secret_text)) == f"ParsedToken(id='{token.id}')"
