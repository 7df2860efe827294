"""Credentials that others give, with a clock that the test sets."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config import IdentityHeader, Settings, TokenIssuer
from gateway.edge.authentication import Authenticator
from gateway.edge.kept import FRESH_SECONDS, STALE_SECONDS
from gateway.edge.sources import Sources
from gateway.errors import IssuerUnavailable, Unauthenticated
from gateway.identity.credentials import Forwarded, Network
from gateway.identity.principal import Principal
from tests.edge.conftest import Town
from tests.edge.test_authentication import asked, bearer
from tests.identity.forging import RsaKey, rsa_key

ISSUER = "https://login.example"
RULES = TokenIssuer(
    issuer=ISSUER,
    audience=("comfy",),
    create_users=True,
    allowed_domains=("*",),
    roles={"admins": "admin"},
)


class Far:
    """The issuer's server: its keys, how often it was asked, and whether it is down."""

    def __init__(self) -> None:
        self.keys: list[RsaKey] = [rsa_key("a")]
        self.asked: list[str] = []
        self.is_down = False

    async def get_json(self, url: str) -> object:
        self.asked.append(url)
        if self.is_down:
            raise IssuerUnavailable("down")
        if url.endswith("/keys"):
            return {"keys": [key.jwk() for key in self.keys]}
        return {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}


class Place:
    """An authenticator that knows the issuer, a proxy and a network."""

    def __init__(self, town: Town, tmp_path: Path) -> None:
        self.town, self.far = town, Far()
        header = IdentityHeader(groups="X-Groups", proxies=("10.0.0.1",), roles={"admins": "admin"})
        self.settings = Settings(
            data_dir=tmp_path,
            public_url="http://gw.example",
            issuers=(RULES,),
            identity_header=header,
            networks={"10.0.5.0/24": "kiosk"},
        )
        sources = Sources(self.settings, get_json=self.far.get_json, ticks=town.clock)
        self.authenticator = Authenticator(
            town.store, town.keys, self.settings, town.clock, random=town.random, sources=sources
        )

    def token(self, *, key: RsaKey | None = None, at: float = 0.0, **claims: Any) -> str:
        now = int(self.town.clock() + at)
        said = {"iss": ISSUER, "aud": "comfy", "sub": "u-1", "iat": now, "exp": now + 7200, **claims}
        signer = key or rsa_key("a")
        return signer.sign({"alg": "RS256", "kid": signer.kid}, said)

    async def bearer(self, text: str) -> Principal:
        return await self.authenticator.authenticate(asked(bearer(text)))

    async def ambient(self, *credentials: object) -> Principal:
        scope = asked()
        scope["gateway"]["ambient"] = credentials
        return await self.authenticator.authenticate(scope)


@pytest.fixture
def place(town: Town, tmp_path: Path) -> Place:
    return Place(town, tmp_path)


async def refused(found: Awaitable[Principal]) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await found
    return caught.value.reason


async def test_a_token_is_proved_once_and_then_again(place: Place) -> None:
    """What was proved is remembered for as long as the keys are fresh; then it is proved anew, with the newer keys."""
    text = place.token()
    first = await place.bearer(text)
    assert (first.via, first.role, first.token_id) == ("jwt", "member", None)
    asked_before = list(place.far.asked)
    for _ in range(3):
        assert (await place.bearer(text)).user_id == first.user_id
    assert place.far.asked == asked_before
    place.far.keys = [rsa_key("b")]
    place.town.clock.now += FRESH_SECONDS - 1
    assert (await place.bearer(text)).user_id == first.user_id
    place.town.clock.now += 1
    assert "no known key" in await refused(place.bearer(text))
    assert (await place.bearer(place.token(key=rsa_key("b")))).user_id == first.user_id


async def test_an_issuer_that_is_down(place: Place) -> None:
    """Its last keys hold for a day; after that, and before there were any, nobody knows who asks."""
    place.far.is_down = True
    with pytest.raises(IssuerUnavailable):
        await place.bearer(place.token())
    place.far.is_down = False
    place.town.clock.now += 60
    assert await place.bearer(place.token())
    place.far.is_down = True
    place.town.clock.now += STALE_SECONDS - 1
    assert await place.bearer(place.token())
    place.town.clock.now += 1
    with pytest.raises(IssuerUnavailable):
        await place.bearer(place.token())


async def test_it_ends_with_its_time(place: Place) -> None:
    """A remembered token is over at its expiry, to the second."""
    text = place.token(exp=int(place.town.clock()) + 100)
    assert (await place.bearer(text)).expires_at == place.town.clock() + 100
    place.town.clock.now += 100
    assert "expired" in await refused(place.bearer(text))


async def test_a_clock_that_is_ahead(place: Place) -> None:
    """What an issuer with a clock ahead of ours said is not newer than what it says next."""
    assert (await place.bearer(place.token(at=20, groups=["admins"]))).role == "admin"
    place.town.clock.now += 5
    assert (await place.bearer(place.token())).role == "member"


async def test_of_nobody_we_know(place: Place) -> None:
    """The token of an issuer that is not configured is refused, and nobody is asked."""
    assert "not configured" in await refused(place.bearer(place.token(iss="https://evil.example")))
    assert "not configured" in await refused(place.bearer(place.token(iss="comfy-gateway")))
    assert place.far.asked == []


async def test_a_name_in_a_token_is_no_token_of_ours(place: Place) -> None:
    """A `jti` that looks as if it were got with an API token is not, so it is counted for no token."""
    principal = await place.bearer(place.token(jti="0" * 32 + "-abcdefgh"))
    assert principal.token_id is None and (principal.credential_id or "").startswith("issuer:")


async def test_disabled_here(place: Place) -> None:
    """Somebody disabled here is refused at once, whatever the issuer says, and open sockets end."""
    text = place.token()
    principal = await place.bearer(text)
    assert await place.authenticator.still_valid(principal)
    await place.town.store.users.set(principal.user_id, disabled=True)
    assert not await place.authenticator.still_valid(principal)
    assert "disabled" in await refused(place.bearer(text))


async def test_a_header_is_looked_at_anew(place: Place) -> None:
    """Each value of the header is its own; groups count as they are said now; a user is known by the value alone."""
    ann = await place.ambient(Forwarded("ann", "admins"))
    assert (ann.name, ann.role, ann.via) == ("ann", "admin", "header")
    place.town.clock.now += 60
    assert (await place.ambient(Forwarded("ann", None))).role == "member"
    assert (await place.ambient(Forwarded("ann", None))).user_id == ann.user_id
    assert (await place.ambient(Forwarded("bob", None))).user_id != ann.user_id
    # Both are known by now, so that what is remembered of one could be taken for the other.
    for name in ("ann", "bob", "ann", "bob"):
        assert (await place.ambient(Forwarded(name, None))).name == name
    assert "names nobody" in await refused(place.ambient(Forwarded("a b", None)))


@pytest.mark.parametrize("role", ["member", "admin"])
async def test_a_network_administers_nothing(place: Place, role: str) -> None:
    """Whoever asks from a network has what its user may but for administering, and so it stays for open sockets."""
    assert "whom nobody is" in await refused(place.ambient(Network("kiosk")))
    await place.town.user("kiosk", role=role)
    principal = await place.ambient(Network("kiosk"))
    assert (principal.via, principal.permissions) == ("network", {"read", "submit"})
    await place.town.user("somebody")
    assert await place.authenticator.still_valid(principal)


async def test_the_first_good_one_of_many(place: Place) -> None:
    """What is sent goes first, then the header, then the network; a bad one hides none of the next."""
    await place.town.user("kiosk")
    both = (Forwarded("ann", None), Network("kiosk"))
    assert (await place.ambient(*both)).name == "ann"
    assert (await place.ambient(Forwarded("a b", None), Network("kiosk"))).name == "kiosk"
    scope = asked(bearer(place.token(preferred_username="tess")))
    scope["gateway"]["ambient"] = both
    assert (await place.authenticator.authenticate(scope)).name == "tess"
    scope = asked(bearer(place.token(aud="x")))
    scope["gateway"]["ambient"] = both
    assert (await place.authenticator.authenticate(scope)).name == "ann"


async def test_what_came_along_is_nobodys_attempt(place: Place) -> None:
    """A header or a network that is nobody's is not carried, so a person is sent to the login page."""
    scope = asked()
    scope["gateway"]["ambient"] = (Forwarded("a b", None), Network("nobody"))
    await refused(place.authenticator.authenticate(scope))
    assert scope["gateway"]["carried"] is False


def test_there_are_no_sources_by_default(town: Town) -> None:
    """Without issuers nothing is anybody else's."""
    unused: Callable[[str], Awaitable[object]] = Far().get_json
    sources = Sources(town.settings, get_json=unused, ticks=town.clock)
    assert (sources.issuers, sources.providers) == ({}, {})
