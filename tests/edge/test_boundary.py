"""What every request passes first and every answer last."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from gateway.config import Settings
from gateway.edge.access_log import AccessLog
from gateway.edge.boundary import Boundary
from gateway.edge.counters import Counters
from gateway.edge.door import Door
from gateway.errors import Forbidden, LockedOut, NotFound, TokenExpired, Unauthenticated
from gateway.identity.principal import Principal
from tests.edge.live import Brisk, Live, live
from tests.edge.test_protocol import UPGRADE, get, post

HTML = b"Accept: text/html"
CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Stage:
    """An application below the boundary that does what the path says, and writes down what it was given."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        act: Callable[[Send], Awaitable[None]] = getattr(self, scope["raw_path"].decode().strip("/") or "fine")
        await act(send)

    async def fine(self, send: Send) -> None:
        headers = [(b"content-length", b"4"), (b"x-request-id", b"from-below"), (b"vary", b"Accept")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"fine"})

    async def hidden(self, _send: Send) -> None:
        raise NotFound("There is no such thing.", reason="alice's secret")

    async def locked(self, _send: Send) -> None:
        raise LockedOut("Too many.", headers={"Retry-After": "7"})

    async def who(self, _send: Send) -> None:
        raise Unauthenticated("Log in.", headers=CHALLENGE)

    async def expired(self, _send: Send) -> None:
        raise TokenExpired("Over.", headers=CHALLENGE)

    async def broken(self, _send: Send) -> None:
        raise RuntimeError("/home/secret/path")

    async def half(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise Forbidden("too late")

    async def open(self, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})

    async def opened(self, send: Send) -> None:
        await send({"type": "websocket.accept"})
        raise TokenExpired("Over.")


async def authenticate(scope: Scope) -> Principal:
    if not any(name == b"x-api-key" for name, _ in scope["headers"]):
        raise Unauthenticated("Log in.", headers=CHALLENGE)
    return Principal(1, "alice", "member", frozenset(), "token", "abcdefgh", None)


def door(settings: Settings) -> Door:
    return Door(Counters(), limits_of=lambda _principal: settings.roles["member"], by_address=settings.address_rates)


@contextmanager
def behind(tmp_path: Path, lines: list[str] | None = None, **settings: Any) -> Iterator[tuple[Live, Stage]]:
    stage, written = Stage(), [] if lines is None else lines
    chosen = Settings(data_dir=tmp_path, **settings)
    boundary = Boundary(
        stage,
        settings=chosen,
        authenticate=authenticate,
        door=door(chosen),
        access_log=AccessLog(write=written.append),
    )
    with live(Brisk, app=boundary) as running:
        yield running, stage


def upgrade(path: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (path, UPGRADE)


def test_every_answer_has_its_own_request_id(tmp_path: Path) -> None:
    """Each answer carries an id that we made, whatever the client or an application below says."""
    with behind(tmp_path) as (running, stage):
        ids = []
        for path in (b"/fine", b"/hidden", b"/broken", b"/who", b"/fine"):
            answer = running.ask(get(path, b"X-Request-ID: mine"))
            ids.append(answer.headers["x-request-id"])
        assert len(set(ids)) == 5 and not {"mine", "from-below"} & set(ids)
        assert [scope["gateway"]["request_id"] for scope in stage.scopes] == ids


def test_refusals_are_answers(tmp_path: Path) -> None:
    """A refusal is answered with its status, its headers and the contract's JSON; the reason stays here."""
    with behind(tmp_path) as (running, _):
        answer = running.ask(get(b"/hidden"))
        assert answer.status == 404
        assert answer.json["error"]["message"] == "There is no such thing."
        assert answer.json["request_id"] == answer.headers["x-request-id"]
        assert b"alice" not in answer.body
        assert running.ask(get(b"/locked")).headers["retry-after"] == "7"


def test_other_failures_say_nothing(tmp_path: Path) -> None:
    """Whatever else fails is a 500 without a word about the inside."""
    with behind(tmp_path) as (running, _):
        answer = running.ask(get(b"/broken"))
        assert (answer.status, answer.json["error"]["type"]) == (500, "internal_error")
        assert b"secret" not in answer.body and b"RuntimeError" not in answer.body


def test_a_failure_in_the_middle_aborts(tmp_path: Path) -> None:
    """After the first byte nobody can take half an answer for a whole one: the connection ends early."""
    with behind(tmp_path) as (running, _):
        wire = running.wire()
        wire.send(get(b"/half"))
        answer = wire.answer()
        assert (answer.headers["content-length"], answer.body) == ("100", b"half")


def test_head_has_no_body(tmp_path: Path) -> None:
    """Answers to HEAD have the headers of the answer to GET and no body, refusals too."""
    with behind(tmp_path) as (running, _):
        wire = running.wire()
        for path in (b"/hidden", b"/fine"):
            wire.send(get(path).replace(b"GET", b"HEAD"))
            assert int(wire.answer(head=True).headers["content-length"]) > 0
        wire.send(get(b"/fine"))
        assert wire.answer().body == b"fine"


def test_a_person_is_sent_to_the_login_page(tmp_path: Path) -> None:
    """A page that is opened without a session leads to the login page and back; everything else gets a 401."""
    with behind(tmp_path) as (running, _):
        navigation = running.ask(get(b"/who?a=1&b=2", HTML, b"Sec-Fetch-Mode: navigate", b"Cookie: cgw_session=old"))
        assert (navigation.status, navigation.headers["location"]) == (303, "/gateway/login?next=/who%3Fa%3D1%26b%3D2")
        for request in (
            get(b"/who"),
            get(b"/who", HTML, b"Sec-Fetch-Mode: cors"),
            post(b"", HTML, path=b"/who"),
            upgrade(b"/who"),
        ):
            answer = running.ask(request)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_wrong_credential_is_not_sent_to_the_login_page(tmp_path: Path) -> None:
    """Whoever sent a credential on purpose learns that it is wrong."""
    with behind(tmp_path) as (running, stage):
        assert running.ask(get(b"/gateway/t/wrong/who", HTML)).status == 401
        assert stage.scopes[0]["gateway"]["carried"]
        assert running.ask(get(b"/expired", HTML)).status == 303


def test_path_tokens(tmp_path: Path) -> None:
    """`/gateway/t/<token>/view` is `/view` with a credential, and its answers keep their address to themselves."""
    with behind(tmp_path) as (running, stage):
        answer = running.ask(get(b"/gateway/t/cgw_x/fine?a=%2F"))
        scope = stage.scopes[0]
        assert (answer.status, answer.headers["referrer-policy"]) == (200, "no-referrer")
        assert (scope["raw_path"], scope["path"], scope["query_string"]) == (b"/fine", "/fine", b"a=%2F")
        assert scope["gateway"]["path_token"] == "cgw_x"
        assert running.ask(upgrade(b"/gateway/t/cgw_x/open")).status == 101
        assert stage.scopes[1]["gateway"]["path_token"] == "cgw_x"
        running.ask(get(b"/fine"))
        assert stage.scopes[2]["gateway"]["path_token"] is None


def test_odd_path_tokens(tmp_path: Path) -> None:
    """Without the slash one is sent to the slash; behind a token there is nothing of the gateway's own."""
    with behind(tmp_path) as (running, stage):
        answer = running.ask(get(b"/gateway/t/cgw_x"))
        assert (answer.status, answer.headers["location"]) == (308, "/gateway/t/cgw_x/")
        for rest in (
            b"/gateway",
            b"/gateway/",
            b"/gateway/login",
            b"/gateway/t/y/fine",
            b"/%67ateway/login",
            b"/gateway%2Flogin",
        ):
            assert running.ask(get(b"/gateway/t/cgw_x" + rest)).status == 404
        assert stage.scopes == []


def test_P29_websockets_are_refused_before_the_handshake(tmp_path: Path) -> None:
    """A refused websocket gets the HTTP status and the JSON, and is never open."""
    with behind(tmp_path) as (running, _):
        for path, status in ((b"/who", 401), (b"/hidden", 404), (b"/locked", 429), (b"/broken", 500)):
            wire = running.wire()
            wire.send(upgrade(path))
            answer = wire.answer()
            assert answer.status == status
            assert answer.json["request_id"] == answer.headers["x-request-id"]
            assert wire.is_closed()


def test_websockets_carry_the_id_and_close_with_the_code(tmp_path: Path) -> None:
    """The handshake carries the request id; a refusal after it closes with the error's code."""
    with behind(tmp_path) as (running, _):
        assert running.ask(upgrade(b"/open")).headers["x-request-id"]
        wire = running.wire()
        wire.send(upgrade(b"/opened"))
        assert wire.answer().status == 101
        assert wire.exactly(4) == b"\x88\x02" + (4401).to_bytes(2, "big")


def test_P31_options_stay_here(tmp_path: Path) -> None:
    """OPTIONS is answered here, to whoever is known, and reaches no application."""
    with behind(tmp_path) as (running, stage):
        assert running.ask(get(b"/fine").replace(b"GET", b"OPTIONS")).status == 401
        answer = running.ask(get(b"/fine", b"X-API-Key: x").replace(b"GET", b"OPTIONS"))
        assert (answer.status, "GET" in answer.headers["allow"]) == (204, True)
        assert stage.scopes == []


def test_C14_cors(tmp_path: Path) -> None:
    """A listed origin may ask and read without cookies, another one may not; errors are readable as well."""
    preflight = (b"Access-Control-Request-Method: POST", b"Access-Control-Request-Headers: authorization")
    with behind(tmp_path, cors_origins=("https://app.example",)) as (running, stage):
        listed, evil = b"Origin: https://app.example", b"Origin: https://evil.example"
        answer = running.ask(get(b"/fine", listed, *preflight).replace(b"GET", b"OPTIONS"))
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "https://app.example")
        assert answer.headers["access-control-allow-headers"] == "authorization"
        for path in (b"/fine", b"/hidden", b"/who"):
            headers = running.ask(get(path, listed)).headers
            assert headers["access-control-allow-origin"] == "https://app.example"
            assert "access-control-allow-credentials" not in headers
            assert "access-control-allow-origin" not in running.ask(get(path, evil)).headers
        refused = running.ask(get(b"/fine", evil, *preflight).replace(b"GET", b"OPTIONS"))
        assert (refused.status, "access-control-allow-origin" in refused.headers) == (401, False)
        assert len(stage.scopes) == 6


def test_R01_what_the_boundary_answers_itself_is_counted(tmp_path: Path) -> None:
    """Questions of browsers for a listed site, a path token without its slash, and bad addresses have a limit, too."""
    listed, asks = b"Origin: https://app.example", b"Access-Control-Request-Method: POST"
    few = {"page": "2/hour", "anonymous": "1/hour"}
    with behind(tmp_path, cors_origins=("https://app.example",), address_rates=few) as (running, stage):
        preflight = get(b"/fine", listed, asks).replace(b"GET", b"OPTIONS")
        assert [running.ask(preflight).status, running.ask(get(b"/gateway/t/cgw_x")).status] == [204, 308]
        assert [running.ask(preflight).status, running.ask(get(b"/gateway/t/cgw_x")).status] == [429, 429]
        assert [running.ask(get(b"/gateway/t/cgw_x/gateway/")).status for _ in range(2)] == [404, 429]
        refused = running.ask(get(b"/gateway/t/cgw_x/gateway/", listed))
        assert refused.headers["ratelimit-limit"] == "1" and refused.json["error"]["type"] == "rate_limited"
        assert b"RateLimit-Limit" in refused.headers["access-control-expose-headers"].encode()
        assert stage.scopes == []


def test_H01_H02_addresses(tmp_path: Path) -> None:
    """The address below is the peer's, or what a listed proxy says; and so is whether it is https."""
    forwarded = (b"X-Forwarded-For: 6.6.6.6, 1.2.3.4", b"X-Forwarded-Proto: https")
    with behind(tmp_path) as (running, stage):
        running.ask(get(b"/fine", *forwarded))
        assert (stage.scopes[0]["gateway"]["client_ip"], stage.scopes[0]["gateway"]["secure"]) == ("127.0.0.1", False)
    with behind(tmp_path, trusted_proxies=("127.0.0.1",)) as (running, stage):
        running.ask(get(b"/fine", *forwarded))
        assert (stage.scopes[0]["gateway"]["client_ip"], stage.scopes[0]["gateway"]["secure"]) == ("1.2.3.4", True)
    with behind(tmp_path, public_url="https://gw.example") as (running, stage):
        running.ask(get(b"/fine"))
        assert stage.scopes[0]["gateway"]["secure"]


def test_C13_N06_one_line_without_secrets(tmp_path: Path) -> None:
    """Each request is one line: no query, no token of the path, the reason that the client does not see."""
    lines: list[str] = []
    secret = b"cgw_aaaaaaaa_0123456789abcdefghijklmnopqrstu"
    with behind(tmp_path, lines) as (running, _):
        running.ask(get(b"/gateway/t/" + secret + b"/fine?token=" + secret))
        running.ask(get(b"/hidden?token=" + secret))
        running.ask(upgrade(b"/who?token=" + secret))
    assert secret.decode() not in "".join(lines) and "0123456789" not in "".join(lines)
    fine, hidden, socket = (json.loads(line) for line in lines)
    assert (fine["method"], fine["path"], fine["status"], fine["bytes"]) == ("GET", "/fine", 200, 4)
    assert (hidden["status"], hidden["reason"]) == (404, "alice's secret")
    assert (socket["method"], socket["status"]) == ("WS", 401)


async def test_head_has_no_body_on_any_server(tmp_path: Path) -> None:
    """The body of an answer to HEAD is dropped here, not only by a server that does so itself."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    settings = Settings(data_dir=tmp_path)
    boundary = Boundary(Stage(), settings=settings, authenticate=authenticate, door=door(settings))
    for path in (b"/fine", b"/hidden"):
        scope: Scope = {
            "type": "http",
            "method": "HEAD",
            "raw_path": path,
            "query_string": b"",
            "headers": [],
            "scheme": "http",
        }
        await boundary(scope, receive, send)
    assert [message["body"] for message in sent if message["type"] == "http.response.body"] == [b"", b""]


async def test_lifespan_passes(tmp_path: Path) -> None:
    """The server's start and stop go straight through to the application."""
    seen: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*_message: object) -> Any:
        return {}

    settings = Settings(data_dir=tmp_path)
    await Boundary(app, settings=settings, authenticate=authenticate, door=door(settings))(
        {"type": "lifespan"}, nothing, nothing
    )
    assert seen == ["lifespan"]
