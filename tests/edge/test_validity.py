"""When open sockets have to end."""

import asyncio
from pathlib import Path

import pytest

from gateway.edge.validity import POLL_SECONDS
from gateway.identity.principal import Principal
from gateway.store import Store, User
from tests.edge.conftest import EPOCH, Town
from tests.edge.test_authentication import asked, basic, bearer, cookie

PATIENCE = 10.0


async def by_token(town: Town, user: User) -> tuple[str, Principal]:
    token_id, text = await town.token(user)
    return token_id, await town.authenticator.authenticate(asked(bearer(text)))


async def waiting(town: Town, principal: Principal) -> asyncio.Task[None]:
    """Somebody who waits for the end, and has begun to."""
    task = asyncio.create_task(town.authenticator.ended(principal))
    await asyncio.sleep(2 * POLL_SECONDS)
    assert not task.done()
    return task


async def test_T12_a_revoked_token_ends(town: Town) -> None:
    """When a token is revoked whoever came with it is ended, and nobody else."""
    user = await town.user("alice")
    token_id, first = await by_token(town, user)
    _, second = await by_token(town, user)
    ending, staying = await waiting(town, first), await waiting(town, second)
    await town.store.tokens.revoke(token_id, now=EPOCH)
    await asyncio.wait_for(ending, PATIENCE)
    await asyncio.sleep(2 * POLL_SECONDS)
    assert not staying.done()
    staying.cancel()


async def test_T12_another_process_revokes(town: Town, tmp_path: Path) -> None:
    """What the command line does in its own process counts, too."""
    token_id, principal = await by_token(town, await town.user("alice"))
    task = await waiting(town, principal)
    async with await Store.open(f"sqlite:///{tmp_path}/gateway.db") as other:
        await other.tokens.revoke(token_id, now=EPOCH)
    await asyncio.wait_for(task, PATIENCE)


@pytest.mark.parametrize("change", ["disabled", "removed", "lowered"])
async def test_T12_changes_of_the_user(town: Town, change: str) -> None:
    """Disabled, removed, or with another role: all their credentials end."""
    user = await town.user("alice", role="admin", password="correct horse")
    _, first = await by_token(town, user)
    second = await town.authenticator.authenticate(asked(basic("alice", "correct horse")))
    tasks = [await waiting(town, principal) for principal in (first, second)]
    if change == "disabled":
        await town.store.users.set(user.id, disabled=True)
    elif change == "removed":
        await town.store.users.remove(user.id)
    else:
        await town.store.users.set(user.id, role="member")
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)


async def test_T12_a_new_password(town: Town) -> None:
    """A new password ends what came with the old one, and what was issued for it; tokens stay."""
    user = await town.user("alice", password="correct horse")
    _, token = await by_token(town, user)
    login = await town.authenticator.login("alice", "correct horse", ip="1.1.1.1")
    session = await town.authenticator.authenticate(asked(cookie((await town.issuer.session(login)).text)))
    access = await town.authenticator.authenticate(asked(bearer((await town.issuer.access(login)).text)))
    ending = [await waiting(town, principal) for principal in (login, session, access)]
    staying = await waiting(town, token)
    await town.store.users.set(user.id, password_hash=town.passwords.hash("another"))
    await asyncio.wait_for(asyncio.gather(*ending), PATIENCE)
    assert await town.authenticator.still_valid(token)
    assert not staying.done()
    staying.cancel()


async def test_C10_logout_ends_the_session_only(town: Town) -> None:
    """A logout ends that session and not the other one."""
    await town.user("alice", password="correct horse")
    login = await town.authenticator.login("alice", "correct horse", ip="1.1.1.1")
    one, two = [
        await town.authenticator.authenticate(asked(cookie((await town.issuer.session(login)).text))) for _ in range(2)
    ]
    task = await waiting(town, one)
    await town.issuer.end(one)
    await asyncio.wait_for(task, PATIENCE)
    assert await town.authenticator.still_valid(two)


async def test_what_came_of_a_token_ends_with_it(town: Town) -> None:
    """A session that was begun with a token ends when the token does."""
    token_id, text = await town.token(await town.user("alice"))
    login = await town.authenticator.login("", text, ip="1.1.1.1")
    session = await town.authenticator.authenticate(asked(cookie((await town.issuer.session(login)).text)))
    assert await town.authenticator.still_valid(session)
    await town.store.tokens.revoke(token_id, now=EPOCH)
    assert not await town.authenticator.still_valid(session)


async def test_the_end_of_its_time(town: Town) -> None:
    """A credential ends at its expiry, without any change in the store."""
    _, text = await town.token(await town.user("alice"), expires_at=EPOCH + 0.3)
    principal = await town.authenticator.authenticate(asked(bearer(text)))
    assert await town.authenticator.still_valid(principal)
    task = asyncio.create_task(town.authenticator.ended(principal))
    await asyncio.sleep(0)
    assert not task.done()
    town.clock.now += 0.3
    await asyncio.wait_for(task, PATIENCE)


async def test_changes_of_others_wake_but_do_not_end(town: Town) -> None:
    """Whatever happens to others, whoever is valid stays."""
    user = await town.user("alice")
    _, principal = await by_token(town, user)
    task = await waiting(town, principal)
    for number in range(3):
        await town.user(f"user{number}")
        await asyncio.sleep(2 * POLL_SECONDS)
    assert not task.done()
    task.cancel()


async def test_a_thousand_sockets_ask_once(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change the store is asked once for each credential, not once for each socket."""
    token_id, principal = await by_token(town, await town.user("alice"))
    tasks = [asyncio.create_task(town.authenticator.ended(principal)) for _ in range(1000)]
    await asyncio.sleep(2 * POLL_SECONDS)
    asked_for: list[str] = []
    get = town.store.tokens.get

    async def counted(wanted: str) -> object:
        asked_for.append(wanted)
        return await get(wanted)

    monkeypatch.setattr(town.store.tokens, "get", counted)
    await town.user("bob")
    await asyncio.sleep(5 * POLL_SECONDS)
    assert len(asked_for) <= 3
    await town.store.tokens.revoke(token_id, now=EPOCH)
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)


async def test_T12_a_change_during_the_look_is_not_missed(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is revoked while somebody looks whether it holds ends all the same."""
    user = await town.user("alice")
    _, another = await by_token(town, user)
    watching = await waiting(town, another)
    token_id, principal = await by_token(town, user)
    get, looks = town.store.tokens.get, list[str]()

    async def slow(wanted: str) -> object:
        row = await get(wanted)
        if wanted == token_id and not looks:
            looks.append(wanted)
            await town.store.tokens.revoke(token_id, now=EPOCH)
            await asyncio.sleep(3 * POLL_SECONDS)
        return row

    monkeypatch.setattr(town.store.tokens, "get", slow)
    await asyncio.wait_for(town.authenticator.ended(principal), PATIENCE)
    assert looks and not watching.done()
    watching.cancel()


async def test_while_the_store_is_away_nobody_is_put_out(town: Town) -> None:
    """Whoever is in stays in while it cannot be said whether they still may."""
    _, principal = await by_token(town, await town.user("alice"))
    await town.authenticator.close()
    task = await waiting(town, principal)
    (town.settings.data_dir / "gateway.db").rename(town.settings.data_dir / "gone.db")
    await town.store.changes.close()
    await asyncio.sleep(3 * POLL_SECONDS)
    assert not task.done()
    (town.settings.data_dir / "gone.db").rename(town.settings.data_dir / "gateway.db")
    await town.store.users.remove(principal.user_id)
    await asyncio.wait_for(task, PATIENCE)
