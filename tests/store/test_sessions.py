"""The sessions in the store."""

from gateway.store import SessionRow, Store, User


async def test_a_session_comes_back_as_it_was(store: Store, ann: User) -> None:
    """A session that was begun is there; one that was not is not."""
    session = SessionRow("j1", ann.id, 1.0, 100.0)
    await store.sessions.add(session)
    assert await store.sessions.get("j1") == session
    assert await store.sessions.get("j2") is None


async def test_a_logout_ends_one_session(store: Store, ann: User) -> None:
    """Logging out ends this session and no other; a second time it changes nothing."""
    for jti in ("j1", "j2"):
        await store.sessions.add(SessionRow(jti, ann.id, 1.0, 100.0))
    await store.sessions.revoke("j1", now=5.0)
    await store.sessions.revoke("j1", now=6.0)
    await store.sessions.revoke("unknown", now=6.0)
    assert await store.sessions.get("j1") == SessionRow("j1", ann.id, 1.0, 100.0, 5.0)
    assert await store.sessions.get("j2") == SessionRow("j2", ann.id, 1.0, 100.0, None)


async def test_what_expired_is_swept(store: Store, ann: User) -> None:
    """The table does not grow for ever: expired sessions go, others stay."""
    await store.sessions.add(SessionRow("old", ann.id, 1.0, 99.0))
    await store.sessions.add(SessionRow("new", ann.id, 1.0, 100.0))
    assert await store.sessions.sweep(100.0) == 1
    assert await store.sessions.get("old") is None and await store.sessions.get("new") is not None
