"""T: tokens and accounts, over HTTP and on sockets. The forgeries are signed with the gateway's own key."""

import asyncio
import base64
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
import websocket
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.identity.lineage import AUDIENCE, ISSUER
from gateway.identity.passwords import Passwords
from gateway.store import Store
from gateway.store.keys import ensure_keys
from tests.identity import test_jwt as forms
from tests.identity.test_jwt import forged, segment
from tests.rows.conftest import settle
from tests.rows.front import PATIENCE, UPGRADE, Front, Reply, until
from tests.rows.table import table_of

FORM = b"Content-Type: application/x-www-form-urlencoded"
REVOKED = 4401


@dataclass(frozen=True, slots=True)
class Forge:
    """Alice's access token, to be written anew with something changed, under the key that the gateway verifies with."""

    header: dict[str, Any]
    claims: dict[str, Any]
    secret: bytes

    def token(self, *, header: dict[str, Any] | None = None, **claims: object) -> str:
        """With these header entries and claims in place of the right ones."""
        return forged({**self.header, **(header or {})}, {**self.claims, **claims}, secret=self.secret)

    def without(self, name: str) -> str:
        """Without one claim or header entry."""
        header, claims = ({key: value for key, value in part.items() if key != name} for part in self._parts())
        return forged(header, claims, secret=self.secret)

    def raw(self, header: bytes, payload: bytes | None = None) -> str:
        """With these bytes as the header, and as the claims."""
        return forged(header, self.claims if payload is None else payload, secret=self.secret)

    def _parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.header, self.claims


def login(front: Front, name: str, password: str, *, source: str = "127.0.0.1") -> Reply:
    form = urlencode({"grant_type": "password", "username": name, "password": password}).encode()
    head = front.request("/gateway/api/v1/auth/token", FORM, b"Content-Length: %d" % len(form), method=b"POST", by=None)
    return front.ask(head + form, source=source)


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.fixture
def forge(front: Front) -> Forge:
    text = login(front, "alice", front.house.passwords["alice"]).json()["access_token"]
    header, claims, _ = text.split(".")
    key = ensure_keys(front.house.data_dir, secret_key=None, random=secrets.token_bytes).current
    made = Forge(decoded(header), decoded(claims), key.secret)
    assert front.me(bearer(made.token())) == "alice", "what is forged without a change is as good as the original"
    return made


def bearer(text: str) -> bytes:
    return b"Authorization: Bearer " + text.encode()


def require_refused(front: Front, *texts: str) -> None:
    """Each is 401 over HTTP, and 401 before the handshake of a socket."""
    for text in texts:
        reply = front.get("/queue", bearer(text), by=None)
        assert (reply.status, reply.type) in ((401, "unauthenticated"), (401, "token_expired")), (text[:200], reply)
    reply = front.ask(front.request("/ws", *UPGRADE, bearer(texts[-1]), by=None))
    assert reply.status == 401, (texts[-1][:200], reply)


def change(front: Front, name: str, **fields: Any) -> None:
    """Another process, as an administrator's command is one, changes a user; `token=None` revokes the user's tokens."""

    async def changed() -> None:
        async with await Store.open(f"sqlite:///{front.house.data_dir}/gateway.db") as store:
            user = await store.users.by_name(name)
            assert user is not None
            if "token" in fields:
                for row in await store.tokens.of_user(user.id):
                    await store.tokens.revoke(row.id, now=time.time())
            else:
                await store.users.set(user.id, **fields)

    asyncio.run(changed())


def newcomer(
    front: Front, name: str, *, role: str = "member", scopes: frozenset[str] | None = None
) -> tuple[str, str, str]:
    """A user of this test alone: name, token, password."""
    name = front.mark(name)
    tokens, passwords = asyncio.run(settle(front.house.data_dir, {name: role}, scopes=scopes))
    return name, tokens[name], passwords[name]


def opened(front: Front, token: str) -> websocket.WebSocket:
    address = f"ws://127.0.0.1:{front.port}/ws"
    return websocket.create_connection(address, header=[f"X-API-Key: {token}"], timeout=PATIENCE)


def close_code(socket: websocket.WebSocket) -> int:
    """What the socket is closed with from the other side; frames before that are passed over."""
    while True:
        opcode, data = socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            socket.shutdown()
            return int.from_bytes(data[:2], "big")


def test_T01_other_algorithms(front: Front, forge: Forge) -> None:
    """`alg: none` in any spelling, with or without a signature, and any algorithm but ours, is 401."""
    texts = [forge.token(header={"alg": alg}) for alg in ("none", "None", "NONE", "nOnE", "HS512", "RS256", "")]
    require_refused(front, *texts, *(text.rpartition(".")[0] + "." for text in texts))


def test_T02_a_public_key_as_the_secret(front: Front, forge: Forge) -> None:
    """A token signed with a public key, as PEM, OpenSSH, DER or JWK n, is 401."""
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    keys = [public.public_bytes(kind, PublicFormat.SubjectPublicKeyInfo) for kind in (Encoding.PEM, Encoding.DER)]
    keys.append(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    keys.append(segment(public.public_numbers().n.to_bytes(256, "big")).encode())
    require_refused(front, *(forged(forge.header, forge.claims, secret=key) for key in keys))


def test_T03_odd_algorithms(front: Front, forge: Forge) -> None:
    """An alg that is a list, an object, a number, missing or long is 401; a header that no server takes is 431."""
    odd: tuple[object, ...] = ([], {}, 5, None, "x" * 700)
    require_refused(front, *(forge.token(header={"alg": alg}) for alg in odd))
    require_refused(front, forge.without("alg"))
    huge = front.get("/queue", bearer(forge.token(header={"alg": "x" * 1_000_000})), by=None)
    assert huge.status in (400, 431)


def test_T04_odd_expiries(front: Front, forge: Forge) -> None:
    """A token that is over, or whose expiry is no whole number of seconds in reach, is 401."""
    now = int(time.time())
    require_refused(front, forge.token(iat=now - 900, exp=now - 31), forge.token(iat=now - 900, exp=now))
    expired = front.get("/queue", bearer(forge.token(iat=now - 900, exp=now)), by=None)
    assert expired.type == "token_expired"
    require_refused(front, forge.token(exp="9999999999"), forge.token(exp=None), forge.without("exp"))
    payload = json.dumps(forge.claims)
    for number in ("1e400", "NaN", "Infinity", "1" * 400):
        odd = payload.replace(f'"exp": {forge.claims["exp"]}', f'"exp": {number}').encode()
        assert number.encode() in odd
        require_refused(front, forge.raw(json.dumps(forge.header).encode(), odd))


def test_T05_from_the_future(front: Front, forge: Forge) -> None:
    """A token that was signed later than now, or has a `nbf`, which ours have not, is 401."""
    later = int(time.time()) + 3600
    require_refused(front, forge.token(iat=later, exp=later + 900), forge.token(nbf=later))


def test_T06_for_or_by_others(front: Front, forge: Forge) -> None:
    """A missing or wrong audience or issuer is 401; a list of audiences with ours in it is none."""
    require_refused(front, forge.without("aud"), forge.token(aud="other"), forge.token(aud=["other"]))
    require_refused(front, forge.without("iss"), forge.token(iss="other"), forge.token(iss=[ISSUER]))
    assert front.me(bearer(forge.token(aud=["other", AUDIENCE]))) == "alice"


def test_T07_odd_subjects(front: Front, forge: Forge) -> None:
    """A subject that is missing, a number, empty, long, a path or a look-alike is 401."""
    odd = (5, None, "", "x" * 2000, "a/b", "..", "a\x00", "\u0430lice", "alice", "ALICE")
    require_refused(front, forge.without("sub"), *(forge.token(sub=sub) for sub in odd))


def test_T08_odd_key_ids(front: Front, forge: Forge) -> None:
    """A key id that is a path, SQL, an address, unknown or long is 401."""
    odd: tuple[object, ...] = (
        "../../dev/null",
        "' OR 1=1 --",
        "http://evil.invalid/key",
        "unknown",
        "",
        None,
        5,
        [],
        "k" * 700,
    )
    require_refused(front, forge.without("kid"), *(forge.token(header={"kid": kid}) for kid in odd))
    huge = front.get("/queue", bearer(forge.token(header={"kid": "k" * 1_000_000})), by=None)
    assert huge.status in (400, 431)


def test_T09_other_headers_of_a_token(front: Front, forge: Forge) -> None:
    """A token with jku, x5u, jwk, crit, b64 or any other header is 401."""
    values = ("http://evil.invalid/", ["exp"], {"kty": "oct", "k": "eA"}, False)
    names = ("jku", "x5u", "x5c", "jwk", "crit", "b64", "zip")
    require_refused(front, *(forge.token(header={name: value}) for name in names for value in values))


def test_T10_other_kinds_of_token(front: Front, forge: Forge) -> None:
    """A refresh, ticket, reset or session token is no access token, and an access token no session."""
    require_refused(front, *(forge.token(header={"typ": typ}) for typ in ("refresh", "ticket", "reset", "JWT", None)))
    form = urlencode({"name": "alice", "password": front.house.passwords["alice"]}).encode()
    said = front.post("/gateway/login", form, FORM, b"Origin: http://gw.example", by=None)
    session = said.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert front.me(b"Cookie: cgw_session=" + session.encode()) == "alice"
    require_refused(front, session)
    assert front.me(b"Cookie: cgw_session=" + forge.token().encode()) == 401


def test_T12_a_revoked_token(front: Front) -> None:
    """When a token is revoked the next request is 401, and the open socket is closed with 4401."""
    name, token, _ = newcomer(front, "revoked")
    socket = opened(front, token)
    change(front, name, token=None)
    assert front.me(b"X-API-Key: " + token.encode()) == 401
    assert close_code(socket) == REVOKED


def test_T12_a_disabled_user(front: Front) -> None:
    """When a user is disabled the next request is 401, whatever the credential, and the open socket is closed."""
    name, token, password = newcomer(front, "disabled")
    access = login(front, name, password).json()["access_token"]
    socket = opened(front, token)
    change(front, name, disabled=True)
    assert front.me(b"X-API-Key: " + token.encode()) == front.me(bearer(access)) == 401
    assert login(front, name, password).status == 401
    assert close_code(socket) == REVOKED


def test_T12_a_new_password(front: Front) -> None:
    """A new password ends what the old one gave; API tokens are not of the password and stay."""
    name, token, password = newcomer(front, "password")
    access = login(front, name, password).json()["access_token"]
    assert front.me(bearer(access)) == name
    change(front, name, password_hash=Passwords().hash("quite another one"))
    assert front.me(bearer(access)) == 401
    assert login(front, name, password).status == 401
    assert front.me(b"X-API-Key: " + token.encode()) == name


def test_T12_a_lower_role(front: Front) -> None:
    """Whoever is no administrator any more is refused what only they may, at once."""
    name, token, _ = newcomer(front, "lowered", role="admin")
    key = b"X-API-Key: " + token.encode()
    assert front.get("/internal/logs", key, by=None).status == 200
    change(front, name, role="member")
    assert front.get("/internal/logs", key, by=None).status == 403


def test_T14_long_tokens(front: Front) -> None:
    """A token of 4,097 bytes is 401, in any place; one of 8 MB is refused with its headers."""
    shape = "a" * 1024 + "." + "a" * (4097 - 1024 - 45) + "." + "a" * 43
    require_refused(front, shape, "a" * 4097, "cgw_" + "a" * 4093)
    assert front.me(b"X-API-Key: " + shape.encode()) == front.me(b"Cookie: cgw_session=" + shape.encode()) == 401
    assert front.get(f"/queue?token={'a' * 4097}", by=None).status == 401
    assert front.get("/queue", bearer("a" * 8_000_000), by=None).status in (400, 431)


def test_T15_deep_headers(front: Front, forge: Forge) -> None:
    """A token whose header is nested as deep as it gets is 401, or too long a header; never a 500."""
    require_refused(front, forge.raw(b"[" * 740), forge.raw(b"[" * 5000), forge.raw(b'{"alg":' * 700))
    for depth in (30_000, 100_000):
        assert front.get("/queue", bearer(forge.raw(b"[" * depth)), by=None).status in (400, 401, 431)


def test_T17_other_forms(front: Front, forge: Forge) -> None:
    """JWE, five or two segments, and segments that are no UTF-8 or no object, are 401."""
    table = table_of(forms.test_T17_other_forms_are_refused)
    require_refused(front, *(text for text in table if text.isascii() and text.isprintable() and text))
    require_refused(front, *(forge.raw(bad) for bad in (b"\xff\xfe", b"null", b"[]", b"5", b"{", b"\xef\xbb\xbf{}")))
    assert front.get("/queue", b"Authorization: Bearer \xff.\xff.\xff", by=None).status == 401


def test_T20_wrong_tokens(front: Front) -> None:
    """A wrong token, a right one with another secret and the one of another user are 401; only a hash is stored."""
    alice, bob = (front.house.tokens[name] for name in ("alice", "bob"))
    beginning = alice.rpartition("_")[0]
    require_refused(front, "cgw_wrong", alice[:-1], alice[:-1] + ("a" if alice[-1] != "a" else "b"))
    require_refused(front, f"{beginning}_{bob.rpartition('_')[2]}", beginning, alice.upper())
    secret = alice.rpartition("_")[2].encode()
    files = [path for path in front.house.data_dir.rglob("*") if path.is_file()]
    assert files and not [path for path in files if secret in path.read_bytes()]


def test_T21_an_unknown_name_and_a_wrong_password(front: Front) -> None:
    """A wrong password and a name that nobody has are told apart by nothing in the answer."""
    answers = [login(front, name, "wrong", source="127.0.9.1") for name in ("alice", front.mark("nobody"))]
    texts = [(reply.status, {**reply.json(), "request_id": ""}) for reply in answers]
    assert texts[0] == texts[1]
    assert texts[0][0] == 401
    assert answers[0].headers.keys() == answers[1].headers.keys()


def test_T22_many_wrong_passwords(front: Front) -> None:
    """Wrong passwords for one name, in any case and from many addresses, count together and slow the next ones down;
    the owner gets in all the while, with the password and with a token.
    """
    name, token, password = newcomer(front, "guessed")
    spellings = (name, name.upper(), name.title())
    statuses = [login(front, spellings[n % 3], f"guess {n}", source=f"127.0.7.{n + 1}").status for n in range(12)]
    assert statuses[:5] == [401] * 5 and statuses[-1] == 429
    assert login(front, name, password, source="127.0.8.1").status == 200
    assert front.me(b"X-API-Key: " + token.encode()) == name


def test_T23_odd_names(front: Front) -> None:
    """A name of 1 MB is 413, one with NUL or line ends or of 1,000 letters 400, where a token is asked for and where
    one logs in; no log line is forged or long.
    """
    begun = front.house.log.stat().st_size
    forgery = 'x\n{"event":"request","user":"forged"}\n'
    assert login(front, "x" * 1_000_000, "wrong", source="127.0.9.2").status == 413
    for name in ("a\x00b", forgery, "x" * 1000):
        assert login(front, name, "wrong", source="127.0.9.2").status == 400
        form = urlencode({"name": name, "password": "wrong"}).encode()
        assert front.post("/gateway/login", form, FORM, b"Origin: http://gw.example", by=None).status == 400

    def lines() -> list[bytes]:
        with front.house.log.open("rb") as file:
            file.seek(begun)
            return file.read().splitlines()

    until(lambda: len(lines()) >= 7)
    assert max(len(line) for line in lines()) < 4096
    assert "forged" not in {json.loads(line).get("user") for line in lines()}


def test_T28_a_token_that_may_only_read(front: Front) -> None:
    """A token with the scope `read` reads; POST, DELETE and the socket are 403."""
    _, token, _ = newcomer(front, "reader", scopes=frozenset({"read"}))
    key = b"X-API-Key: " + token.encode()
    assert front.get("/queue", key, by=None).status == 200
    for method, target in ((b"POST", "/prompt"), (b"POST", "/interrupt"), (b"DELETE", "/userdata/a.json")):
        assert front.post(target, b"{}", key, by=None, method=method).status == 403, target
    assert front.get("/ws", *UPGRADE, key, by=None).status == 403
