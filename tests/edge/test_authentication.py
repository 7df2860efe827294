"""Who asks."""

import asyncio
import base64
import secrets
from typing import Any

import pytest
from starlette.types import Scope

from gateway.config import Settings
from gateway.edge.authentication import Authenticator
from gateway.errors import CsrfRefused, GatewayError, LockedOut, StoreUnavailable, TokenExpired, Unauthenticated
from gateway.identity import tokens
from gateway.identity.jwt import Claims, Keys, sign
from gateway.identity.lineage import AUDIENCE, ISSUER
from gateway.identity.principal import Principal
from gateway.store import TokenRow
from tests.edge.conftest import EPOCH, Town

Headers = list[tuple[bytes, bytes]]
SAME = (b"sec-fetch-site", b"same-origin")


def asked(
    *headers: tuple[bytes, bytes],
    query: bytes = b"",
    path_token: str | None = None,
    method: str = "GET",
    kind: str = "http",
    secure: bool = False,
    ip: str = "1.1.1.1",
) -> Scope:
    about: dict[str, Any] = {
        "path_token": path_token,
        "client_ip": ip,
        "secure": secure,
        "ambient": (),
        "carried": False,
        "principal": None,
    }
    scope: Scope = {
        "type": kind,
        "headers": [(b"host", b"gw.example"), *headers],
        "query_string": query,
        "gateway": about,
    }
    return scope if kind == "websocket" else {**scope, "method": method}


def bearer(text: str) -> tuple[bytes, bytes]:
    return (b"authorization", b"Bearer " + text.encode())


def basic(name: str, password: str) -> tuple[bytes, bytes]:
    return (b"authorization", b"Basic " + base64.b64encode(f"{name}:{password}".encode()))


def cookie(text: str, name: str = "cgw_session") -> tuple[bytes, bytes]:
    return (b"cookie", f"other=1; {name}={text}".encode())


async def refused(town: Town, scope: Scope) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await town.authenticator.authenticate(scope)
    assert scope["gateway"]["principal"] is None
    return caught.value


async def test_every_way_to_send_a_token(town: Town) -> None:
    """Path, X-API-Key, Bearer, Basic with any name, and query: each is the same caller."""
    user = await town.user("alice")
    token_id, text = await town.token(user)
    ways = [
        asked(path_token=text),
        asked((b"x-api-key", text.encode())),
        asked(bearer(text)),
        asked(basic("whoever", text)),
        asked(query=b"a=1&token=" + text.encode()),
        asked(bearer(text), kind="websocket"),
        asked(bearer(text), method="POST"),
    ]
    for scope in ways:
        principal = await town.authenticator.authenticate(scope)
        assert (principal.user_id, principal.name, principal.role) == (user.id, "alice", "member")
        assert (principal.via, principal.credential_id, principal.expires_at) == ("token", token_id, None)
        assert principal.permissions == {"read", "submit"}
        assert scope["gateway"]["principal"] is principal


async def test_name_and_password(town: Town) -> None:
    """Basic with a name and a password."""
    await town.user("alice", role="admin", password="correct horse")
    principal = await town.authenticator.authenticate(asked(basic("alice", "correct horse")))
    assert (principal.name, principal.via, principal.credential_id) == ("alice", "password", None)
    assert principal.permissions == {"read", "submit", "admin"}
    assert isinstance(await refused(town, asked(basic("alice", "wrong"))), Unauthenticated)


async def test_no_credential(town: Town) -> None:
    """Nothing, an empty Bearer and a stranger's cookie are no credential: 401, and no browser dialog."""
    for scope in (
        asked(),
        asked((b"authorization", b"Bearer ")),
        asked((b"cookie", b"session=x")),
        asked(query=b"a=1"),
    ):
        error = await refused(town, scope)
        assert (error.status, error.type) == (401, "unauthenticated")
        assert error.headers == {"WWW-Authenticate": 'Bearer realm="ComfyUI Gateway"'}
        assert not scope["gateway"]["carried"]


async def test_H19_the_first_good_one_wins(town: Town) -> None:
    """Two good credentials: the earlier one of the contract's order. A bad one never hides a good one."""
    _, alices = await town.token(await town.user("alice"))
    _, bobs = await town.token(await town.user("bob"))
    bad = tokens.mint(secrets.token_bytes).secret_text

    async def name(scope: Scope) -> str:
        return (await town.authenticator.authenticate(scope)).name

    assert await name(asked(bearer(bobs), path_token=alices)) == "alice"
    assert await name(asked(bearer(bobs), (b"x-api-key", alices.encode()))) == "alice"
    assert await name(asked(bearer(alices), query=b"token=" + bobs.encode())) == "alice"
    for junk in (bad, "junk", "a.b.c", "cgw_"):
        assert await name(asked(bearer(junk), query=b"token=" + bobs.encode())) == "bob"
        assert await name(asked(bearer(bobs), path_token=junk)) == "bob"
        assert await name(asked(basic("x", junk), (b"x-api-key", bobs.encode()))) == "bob"


async def test_T20_wrong_tokens(town: Town) -> None:
    """A token of nobody, one with another's id, a changed one, a revoked one: 401, with nothing said about why."""
    user = await town.user("alice")
    token_id, text = await town.token(user)
    forged = tokens.mint(lambda size: b"\0" * size)
    stolen_id = TokenRow(forged.id, user.id, "x", tokens.mint(secrets.token_bytes).digest, None, EPOCH, None)
    await town.store.tokens.add(stolen_id)
    changed = text[:-8] + ("A" if text[-8] != "A" else "B") + text[-7:]
    messages = set()
    for bad in (tokens.mint(secrets.token_bytes).secret_text, forged.secret_text, changed, text + "x", text.upper()):
        scope = asked(bearer(bad))
        error = await refused(town, scope)
        assert (error.type, scope["gateway"]["carried"]) == ("unauthenticated", True)
        messages.add((error.message, error.details))
    await town.authenticator.authenticate(asked(bearer(text)))
    await town.store.tokens.revoke(token_id, now=EPOCH)
    error = await refused(town, asked(bearer(text)))
    assert len({*messages, (error.message, error.details)}) == 1


async def test_expired_tokens(town: Town) -> None:
    """A token holds until its time, not at it; then it is `token_expired`, unless something else is wrong too."""
    user = await town.user("alice")
    _, text = await town.token(user, expires_at=EPOCH + 60)
    town.clock.now = EPOCH + 59.9
    assert (await town.authenticator.authenticate(asked(bearer(text)))).expires_at == EPOCH + 60
    town.clock.now = EPOCH + 60
    assert isinstance(await refused(town, asked(bearer(text))), TokenExpired)
    both = await refused(town, asked(bearer(text), query=b"token=wrong"))
    assert both.type == "unauthenticated"


async def test_T12_changes_count_at_once(town: Town) -> None:
    """A revoked token, a disabled or removed user, a lowered role: the next request knows."""
    user = await town.user("alice", role="admin")
    _, text = await town.token(user)
    other_id, other = await town.token(user)
    scope = asked(bearer(text))
    assert "admin" in (await town.authenticator.authenticate(scope)).permissions
    await town.store.users.set(user.id, role="member")
    assert (await town.authenticator.authenticate(scope)).permissions == {"read", "submit"}
    await town.store.tokens.revoke(other_id, now=EPOCH)
    await refused(town, asked(bearer(other)))
    await town.authenticator.authenticate(scope)
    await town.store.users.set(user.id, disabled=True)
    await refused(town, asked(bearer(text)))
    await town.store.users.set(user.id, disabled=False)
    await town.authenticator.authenticate(scope)
    await town.store.users.remove(user.id)
    await refused(town, asked(bearer(text)))


async def test_a_role_that_is_gone(town: Town) -> None:
    """A user whose role the settings no longer have is known, and may nothing."""
    _, text = await town.token(await town.user("alice", role="painter"))
    assert (await town.authenticator.authenticate(asked(bearer(text)))).permissions == frozenset()


async def test_T28_scopes(town: Town) -> None:
    """A token permits no more than its scopes, and no more than the role."""
    user = await town.user("alice")
    for scopes, expected in (({"read"}, {"read"}), ({"read", "admin"}, {"read"}), (set(), set())):
        _, text = await town.token(user, scopes=frozenset(scopes))
        assert (await town.authenticator.authenticate(asked(bearer(text)))).permissions == expected


# Sessions


async def session(town: Town, name: str = "alice", **more: Any) -> str:
    principal = await town.authenticator.login(name, "correct horse", ip="1.1.1.1")
    return (await town.issuer.session(principal)).text


async def test_a_session(town: Town) -> None:
    """A login gives a cookie, the cookie gives the same caller, until its hours are over."""
    await town.user("alice", password="correct horse")
    text = await session(town)
    principal = await town.authenticator.authenticate(asked(cookie(text)))
    assert (principal.name, principal.via, principal.is_cookie) == ("alice", "session", True)
    assert principal.expires_at == EPOCH + 168 * 3600
    town.clock.now += 168 * 3600 - 1
    await town.authenticator.authenticate(asked(cookie(text)))
    town.clock.now += 1
    assert isinstance(await refused(town, asked(cookie(text))), TokenExpired)


async def test_C07_each_login_is_another_session(town: Town) -> None:
    """No two logins give the same cookie."""
    await town.user("alice", password="correct horse")
    assert await session(town) != await session(town)


async def test_C09_the_cookie_of_plain_http_does_not_count_over_https(town: Town) -> None:
    """Over https only the cookie that no other host can set is read."""
    await town.user("alice", password="correct horse")
    text = await session(town)
    await refused(town, asked(cookie(text), secure=True))
    await town.authenticator.authenticate(asked(cookie(text, "__Host-cgw_session"), secure=True))
    await refused(town, asked(cookie(text, "__Host-cgw_session")))


async def test_C10_logout_ends_it_in_the_store(town: Town) -> None:
    """After a logout the cookie is good nowhere, also not as a copy."""
    await town.user("alice", password="correct horse")
    text, other = await session(town), await session(town)
    await town.issuer.end(await town.authenticator.authenticate(asked(cookie(text))))
    await refused(town, asked(cookie(text)))
    await town.authenticator.authenticate(asked(cookie(other)))


async def test_T12_a_new_password_ends_sessions(town: Town) -> None:
    """Whoever changes the password, or is disabled, is logged out everywhere; tokens stay."""
    user = await town.user("alice", password="correct horse")
    _, token = await town.token(user)
    text = await session(town)
    access = (await town.issuer.access(await town.authenticator.login("alice", "correct horse", ip="1.1.1.1"))).text
    await town.authenticator.authenticate(asked(bearer(access)))
    await town.store.users.set(user.id, password_hash=town.passwords.hash("another"))
    await refused(town, asked(cookie(text)))
    await refused(town, asked(bearer(access)))
    await refused(town, asked(basic("alice", "correct horse")))
    await town.authenticator.authenticate(asked(bearer(token)))


async def test_a_cookie_is_good_in_cookies_only(town: Town) -> None:
    """A session's JWT is no Bearer token, and an access token no cookie."""
    await town.user("alice", password="correct horse")
    text = await session(town)
    access = (await town.issuer.access(await town.authenticator.login("alice", "correct horse", ip="1.1.1.1"))).text
    await refused(town, asked(bearer(text)))
    await refused(town, asked((b"x-api-key", text.encode())))
    await refused(town, asked(query=b"token=" + text.encode()))
    await refused(town, asked(cookie(access)))
    assert (await town.authenticator.authenticate(asked(bearer(access)))).via == "jwt"


async def test_access_tokens_last_minutes(town: Town) -> None:
    """An access token holds for fifteen minutes."""
    await town.user("alice", password="correct horse")
    issued = await town.issuer.access(await town.authenticator.login("alice", "correct horse", ip="1.1.1.1"))
    assert issued.seconds == 900
    town.clock.now += 900
    assert isinstance(await refused(town, asked(bearer(issued.text))), TokenExpired)


async def test_what_a_token_gives_is_no_more_than_the_token(town: Town) -> None:
    """A session or an access token got with an API token has its scopes, ends with it, and lives no longer."""
    user = await town.user("alice", role="admin")
    token_id, text = await town.token(user, scopes=frozenset({"read"}), expires_at=EPOCH + 100)
    principal = await town.authenticator.login("", text, ip="1.1.1.1")
    scopes = [
        asked(cookie((await town.issuer.session(principal)).text)),
        asked(bearer((await town.issuer.access(principal)).text)),
    ]
    for scope in scopes:
        found = await town.authenticator.authenticate(scope)
        assert (found.permissions, found.expires_at) == (frozenset({"read"}), EPOCH + 100)
    await town.store.tokens.revoke(token_id, now=EPOCH)
    for scope in scopes:
        with pytest.raises(Unauthenticated):
            await town.authenticator.authenticate(scope)


@pytest.mark.parametrize("change", ["sub", "epoch", "jti", "aud", "iss"])
async def test_T06_T07_T12_jwts_of_nobody(town: Town, change: str) -> None:
    """A well-signed JWT of an unknown user, an old epoch, an unknown session, another audience or issuer is 401."""
    user = await town.user("alice", password="correct horse")
    await session(town)
    values: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user.key,
        "jti": "0" * 32,
        "iat": int(EPOCH),
        "exp": int(EPOCH) + 60,
        "epoch": user.epoch,
    }
    good = Claims(**values)
    await town.authenticator.authenticate(asked(bearer(sign(good, town.keys, typ="access"))))
    other = {"sub": "nobody", "epoch": user.epoch + 1, "jti": "1" * 32, "aud": "other", "iss": "other"}[change]
    bad = Claims(**{**values, change: other})
    typ = "session" if change == "jti" else "access"
    text = sign(bad, town.keys, typ="session" if typ == "session" else "access")
    await refused(town, asked(cookie(text) if typ == "session" else bearer(text)))


async def test_T01_T14_T15_T17_malformed_jwts(town: Town) -> None:
    """What only looks like a JWT is 401, whatever it is."""
    await town.user("alice", password="correct horse")
    text = await session(town)
    deep = base64.urlsafe_b64encode(b"[" * 700).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    head, payload, signature = text.split(".")
    for bad in (
        "..",
        "a.b.c",
        f"{deep}.{payload}.{signature}",
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{head}.{payload}.{signature}x",
        f"{head}.{payload}.{signature}=",
        text + "." + payload,
        "a" * 100_000 + ".b.c",
        "\xff.\xff.\xff",
    ):
        assert (await refused(town, asked((b"authorization", b"Bearer " + bad.encode("latin-1"))))).status == 401
        assert (await refused(town, asked((b"cookie", b"cgw_session=" + bad.encode("latin-1"))))).status == 401


# Proof of origin


async def test_C01_C02_C05_cookies_need_a_proof(town: Town) -> None:
    """A cookie authenticates a change, or a websocket, only with a proof that our own page asks."""
    await town.user("alice", password="correct horse")
    mine = cookie(await session(town))
    ours, foreign = (b"origin", b"http://gw.example"), (b"origin", b"https://evil.example")
    for proof in (ours, SAME):
        await town.authenticator.authenticate(asked(mine, proof, method="POST"))
        await town.authenticator.authenticate(asked(mine, proof, kind="websocket"))
    for scope in (
        asked(mine, method="POST"),
        asked(mine, foreign, method="POST"),
        asked(mine, (b"origin", b"null"), method="POST"),
        asked(mine, (b"origin", b"http://gw.example.evil"), method="POST"),
        asked(mine, (b"sec-fetch-site", b"cross-site"), method="POST"),
        asked(mine, kind="websocket"),
        asked(mine, foreign, kind="websocket"),
        asked(mine, (b"origin", b"null"), kind="websocket"),
        asked(mine, foreign),
    ):
        assert isinstance(await refused(town, scope), CsrfRefused)
    plain = asked(mine)
    await town.authenticator.authenticate(plain)
    assert plain["gateway"]["own_origins"] == {"http://gw.example", "https://gw.example"}
    await town.authenticator.authenticate(asked(mine, (b"sec-fetch-site", b"cross-site")))


async def test_C06_tokens_need_none(town: Town) -> None:
    """A program with a token sends no Origin, and another site's page with a token may send its own."""
    _, text = await town.token(await town.user("alice"))
    for headers in ((), ((b"origin", b"https://evil.example"),), ((b"origin", b"null"),)):
        await town.authenticator.authenticate(asked(bearer(text), *headers, method="POST"))
        await town.authenticator.authenticate(asked(bearer(text), *headers, kind="websocket"))


async def test_the_public_url_is_the_origin(town: Town) -> None:
    """With a public URL its origin is ours, and the Host's no longer."""
    await town.user("alice", password="correct horse")
    settings = Settings(data_dir=town.settings.data_dir, public_url="https://public.example")
    public = Authenticator(town.store, town.keys, settings, town.clock, passwords=town.passwords)
    mine = cookie(await session(town), "__Host-cgw_session")
    await public.authenticate(asked(mine, (b"origin", b"https://public.example"), method="POST", secure=True))
    with pytest.raises(CsrfRefused):
        await public.authenticate(asked(mine, (b"origin", b"http://gw.example"), method="POST", secure=True))


# Logins


async def test_login(town: Town) -> None:
    """A login is a name and a password, or a token in the password's place."""
    _, text = await town.token(await town.user("alice", password="correct horse"))
    assert (await town.authenticator.login("alice", "correct horse", ip="1.1.1.1")).via == "password"
    assert (await town.authenticator.login("anything", text, ip="1.1.1.1")).via == "token"
    for name, password in (("alice", "wrong"), ("alice", text[:-1]), ("alice", "cgw_x")):
        with pytest.raises(Unauthenticated):
            await town.authenticator.login(name, password, ip="1.1.1.1")


async def test_T22_a_stranger_cannot_keep_the_owner_out(town: Town) -> None:
    """After many wrong passwords the answer is 429; the right one, and any token, still get in."""
    user = await town.user("alice", password="correct horse")
    _, text = await town.token(user)
    errors = [await refused(town, asked(basic("alice", f"guess {number}"))) for number in range(20)]
    assert [error.status for error in errors] == [401] * 4 + [429] * 16
    assert isinstance(errors[-1], LockedOut) and errors[-1].headers["Retry-After"]
    assert (await town.authenticator.authenticate(asked(basic("alice", "correct horse")))).name == "alice"
    assert (await town.authenticator.authenticate(asked(bearer(text)))).name == "alice"
    assert (await town.authenticator.authenticate(asked(basic("alice", "correct horse"), ip="2.2.2.2"))).name == "alice"


async def test_a_locked_password_does_not_hide_a_good_token(town: Town) -> None:
    """Even where a password is answered with 429, another credential of the request counts."""
    _, text = await town.token(await town.user("alice"))
    for number in range(6):
        await refused(town, asked(basic("alice", f"guess {number}")))
    principal = await town.authenticator.authenticate(asked(basic("alice", "guess"), query=b"token=" + text.encode()))
    assert principal.via == "token"


async def test_an_ended_session_is_nobodys_attempt(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that still sends an old cookie is not counted as someone who guesses."""
    monkeypatch.setattr(town.slowdown, "failed_token", lambda _ip: pytest.fail("counted"))
    await refused(town, asked(cookie("a.b.c")))


# Memory


async def test_warm_requests_do_not_ask_the_store(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing changes, a credential that was good is not looked up again."""
    _, text = await town.token(await town.user("alice", password="correct horse"))
    scopes = [asked(bearer(text)), asked(cookie(await session(town))), asked(basic("alice", "correct horse"))]
    first = [await town.authenticator.authenticate(scope) for scope in scopes]
    await town.authenticator.close()
    for scope in scopes:
        await town.authenticator.authenticate(scope)

    async def asked_again(_key: object) -> None:
        pytest.fail("the store was asked")

    for name, table in (("get", town.store.tokens), ("get", town.store.users), ("by_key", town.store.users)):
        monkeypatch.setattr(table, name, asked_again)
    assert [await town.authenticator.authenticate(scope) for scope in scopes] == first


async def test_T27_nobody_is_taken_for_another(town: Town) -> None:
    """Many at the same instant, cold and warm: everybody gets their own."""
    people = [
        (name, (await town.token(await town.user(name)))[1]) for name in (f"user{number}" for number in range(20))
    ]
    for _ in range(3):
        found: list[Principal] = await asyncio.gather(
            *(town.authenticator.authenticate(asked(bearer(text))) for _, text in people)
        )
        assert [principal.name for principal in found] == [name for name, _ in people]
        await town.user(f"new{secrets.token_hex(4)}")


async def test_T30_the_store_cannot_answer(town: Town) -> None:
    """Without the store nobody is let in, also not who was a moment ago."""
    _, text = await town.token(await town.user("alice"))
    await town.authenticator.authenticate(asked(bearer(text)))
    await town.authenticator.close()
    (town.settings.data_dir / "gateway.db").rename(town.settings.data_dir / "gone.db")
    await town.store.changes.close()
    assert isinstance(await refused(town, asked(bearer(text))), StoreUnavailable)
    (town.settings.data_dir / "gone.db").rename(town.settings.data_dir / "gateway.db")


async def test_the_last_use_of_a_token_is_noted_once_a_minute(town: Town) -> None:
    """The time of the last use is written, and not more often than once a minute."""
    token_id, text = await town.token(await town.user("alice"))

    async def used() -> float | None:
        await town.authenticator.authenticate(asked(bearer(text)))
        await town.authenticator.close()
        row = await town.store.tokens.get(token_id)
        assert row
        return row.last_used_at

    assert await used() == EPOCH
    town.clock.now += 59
    assert await used() == EPOCH
    town.clock.now += 1
    assert await used() == EPOCH + 60


async def test_keys_of_another_gateway(town: Town) -> None:
    """A session that another secret signed is nobody's."""
    user = await town.user("alice", password="correct horse")
    await session(town)
    other = Keys([type(town.keys.current)("k1", b"\x09\x08\x07\x06" * 8)])
    claims = Claims(ISSUER, AUDIENCE, user.key, "0" * 32, int(EPOCH), int(EPOCH) + 60, user.epoch)
    await refused(town, asked(bearer(sign(claims, other, typ="access"))))


async def test_E23_ended_sessions_are_swept(town: Town) -> None:
    """E23: the table of sessions does not grow for ever: a login forgets those that ended more than a week ago."""
    await town.user("alice", password="correct horse")
    alice = await town.authenticator.login("alice", "correct horse", ip="1.1.1.1")
    await town.issuer.session(alice)
    town.clock.now += town.settings.session_hours * 3600 + 6 * 86400
    await town.issuer.session(alice)
    async with town.store.read() as connection:
        assert len((await connection.exec_driver_sql("SELECT jti FROM sessions")).all()) == 2
    town.clock.now += 2 * 86400
    await town.issuer.session(alice)
    async with town.store.read() as connection:
        assert len((await connection.exec_driver_sql("SELECT jti FROM sessions")).all()) == 2
