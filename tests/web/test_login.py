"""Login, logout, and the account page."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.web.front import PASSWORD, Front, front

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Page(HTMLParser):
    """What a test wants to know of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def field(self, name: str) -> dict[str, str | None]:
        return next(attributes for attributes in self.all("input") if attributes.get("name") == name)


async def test_the_form(web: Front) -> None:
    """The login page asks for a name and a password or token, and knows where one was going."""
    said = await web.get("/gateway/login?next=/view%3Fa%3D1")
    page = Page(said.text)
    assert said.status == 200
    assert page.all("form") == [{"method": "post", "action": "/gateway/login"}]
    assert page.field("next")["value"] == "/view?a=1"
    assert page.field("password")["type"] == "password"
    labelled = {label["for"] for label in page.all("label")}
    assert {field["id"] for field in page.all("input") if field.get("type") != "hidden"} <= labelled
    assert page.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize("path", ["/gateway/login", "/gateway/logout", "/gateway/"])
async def test_C15_X05_headers_of_every_page(web: Front, path: str) -> None:
    """Pages take no script and no inline style, go into no frame and no cache, and are not sniffed."""
    said = await web.get(path, cookie=await web.session())
    assert said.headers["Content-Security-Policy"] == POLICY
    assert said.headers["X-Content-Type-Options"] == "nosniff"
    assert said.headers["Cache-Control"] == "no-store"
    assert said.headers["X-Frame-Options"] == "DENY"
    page = Page(said.text)
    assert not page.all("script") and not page.all("style")
    assert not [
        tag for tag, attributes in page.tags if any(name == "style" or name.startswith("on") for name in attributes)
    ]


async def test_static_files(web: Front) -> None:
    """What the pages link to is there, with its type; nothing else is."""
    page = Page((await web.get("/gateway/login")).text)
    for link in page.all("link"):
        said = await web.get(str(link["href"]))
        assert said.status == 200 and said.body
        assert said.headers["Content-Type"].startswith(("text/css", "image/svg+xml"))
    for name in ("nothing.css", "..%2fpages.py", "__init__.py", "%2e%2e%2fpages.py", "../pages.py"):
        assert (await web.get(f"/gateway/static/{name}")).status in (400, 404)


async def test_login_leads_to_where_one_was_going(web: Front) -> None:
    """A right name and password give a session and lead on."""
    said = await web.login(next="/view?a=1")
    assert (said.status, said.headers["Location"]) == (303, "/view?a=1")
    page = await web.get("/gateway/", cookie=f"cgw_session={said.cookies['cgw_session'].value}")
    assert page.status == 200 and "alice" in page.text and "member" in page.text
    assert (await web.login()).headers["Location"] == "/"


async def test_login_with_a_token(web: Front) -> None:
    """A token in the password's place is enough; the session has the token's scopes and ends with it."""
    user = await web.user("bob")
    text = await web.token(user, scopes=frozenset({"read"}))
    said = await web.login("", text)
    cookie = f"cgw_session={said.cookies['cgw_session'].value}"
    me = (await web.get("/gateway/api/v1/me", cookie=cookie)).json
    assert (me["name"], me["permissions"], me["via"]) == ("bob", ["read"], "session")
    for row in await web.store.tokens.all():
        await web.store.tokens.revoke(row.id, now=1.0)
    assert (await web.get("/gateway/api/v1/me", cookie=cookie)).status == 401


async def test_C09_flags_over_http(web: Front) -> None:
    """Over plain http the cookie is HttpOnly, SameSite=Lax, for the whole host and for no other."""
    cookie = (await web.login()).cookies["cgw_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "lax", "/")
    assert (cookie["secure"], cookie["domain"], cookie["max-age"]) == ("", "", str(168 * 3600))


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"public_url": "https://gw.example"}, {"origin": "https://gw.example"}),
        (
            {"trusted_proxies": ("127.0.0.1",)},
            {"x-forwarded-proto": "https", "sec-fetch-site": "same-origin", "origin": ""},
        ),
    ],
)
async def test_C09_flags_over_https(tmp_path: Path, options: dict[str, object], headers: dict[str, str]) -> None:
    """Over https it is also Secure and has the prefix that binds it to this host; logging out clears that one."""
    async with front(tmp_path, **options) as web:
        said = await web.post("/gateway/login", {"name": "alice", "password": PASSWORD}, **headers)
        assert list(said.cookies) == ["__Host-cgw_session"]
        cookie = said.cookies["__Host-cgw_session"]
        assert (cookie["secure"], cookie["httponly"], cookie["path"], cookie["domain"]) == (True, True, "/", "")
        out = await web.post("/gateway/logout", cookie=f"__Host-cgw_session={cookie.value}", **headers)
        assert list(out.cookies) == ["__Host-cgw_session"] and out.cookies["__Host-cgw_session"]["max-age"] == "0"
        assert (
            await web.get("/gateway/api/v1/me", cookie=f"__Host-cgw_session={cookie.value}", **headers)
        ).status == 401


@pytest.mark.parametrize(
    ("name", "password"), [("alice", "wrong"), ("nobody", PASSWORD), ("", PASSWORD), ("alice", "cgw_x")]
)
async def test_T21_a_wrong_login_says_nothing(web: Front, name: str, password: str) -> None:
    """A wrong password, an unknown name, a wrong token: the same page, which keeps the name and the way back."""
    said = await web.login(name, password, next="/view")
    assert (said.status, said.cookies) == (401, {})
    page = Page(said.text)
    assert "The name or the password is wrong." in said.text
    assert (page.field("name")["value"], page.field("next")["value"]) == (name, "/view")
    assert page.field("password").get("value") is None
    assert said.headers["WWW-Authenticate"].startswith("Bearer")


async def test_T22_too_many_failures(web: Front) -> None:
    """After too many failures the page says to wait, with 429 and Retry-After; the right password still gets in."""
    said = [await web.login(password=f"guess {number}") for number in range(8)]
    assert [answer.status for answer in said] == [401] * 4 + [429] * 4
    assert int(said[-1].headers["Retry-After"]) >= 1
    assert "Too many failed logins." in said[-1].text
    assert (await web.login()).status == 303


@pytest.mark.parametrize(
    ("name", "password", "status"),
    [
        ("x" * 65, PASSWORD, 400),
        ("x" * 1_000_000, PASSWORD, 413),
        ("a\x00b", PASSWORD, 400),
        ("a\nb", PASSWORD, 400),
        ("alice", "", 400),
        ("alice", "x" * 1025, 400),
        ("alice", "x" * 1_000_000, 413),
    ],
)
async def test_T23_T24_odd_names_and_passwords(web: Front, name: str, password: str, status: int) -> None:
    """Names and passwords have a length and no control characters; nothing of them reaches the log."""
    said = await web.login(name, password)
    assert (said.status, said.cookies) == (status, {})
    assert len("".join(web.log)) < 2000 and "".join(web.log).count("\n") == len(web.log)


async def test_X05_names_are_text(web: Front) -> None:
    """What somebody typed comes back as text, never as a tag."""
    said = await web.login('"><script>alert(1)</script>', "wrong", next='/"><script>')
    assert "<script" not in said.text
    assert Page(said.text).field("name")["value"] == '"><script>alert(1)</script>'


async def test_only_forms_are_forms(web: Front) -> None:
    """JSON, multipart, nothing: none of them logs anybody in; nor do fields that come twice."""
    for kind, body in (("application/json", b"{}"), ("text/plain", b"name=alice"), ("multipart/form-data", b"")):
        said = await web.ask("POST", "/gateway/login", headers={"Origin": web.url, "Content-Type": kind}, data=body)
        assert said.status == 415
    headers = {"Origin": web.url, "Content-Type": "application/x-www-form-urlencoded"}
    twice = f"name=alice&password={quote(PASSWORD)}&password={quote(PASSWORD)}"
    assert (await web.ask("POST", "/gateway/login", headers=headers, data=twice.encode())).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "", "sec-fetch-site": "cross-site"},
        {"origin": "", "sec-fetch-site": "none"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
    ],
)
async def test_C07_login_csrf(web: Front, headers: dict[str, str]) -> None:
    """Another site cannot log anybody in as somebody else."""
    said = await web.post("/gateway/login", {"name": "alice", "password": PASSWORD}, **headers)
    assert (said.status, said.cookies) == (403, {})
    assert "own pages" in said.text


async def test_C07_each_login_is_another_session(web: Front) -> None:
    """A login never goes on with the session that the browser had, and ends it."""
    before = await web.session()
    said = await web.post("/gateway/login", {"name": "alice", "password": PASSWORD}, cookie=before)
    after = f"cgw_session={said.cookies['cgw_session'].value}"
    assert after != before
    assert (await web.get("/gateway/api/v1/me", cookie=before)).status == 401
    assert (await web.get("/gateway/api/v1/me", cookie=after)).status == 200


async def test_C10_logout(web: Front) -> None:
    """Logging out ends the session in the store, clears the browser's cookies, and leads to the login page."""
    cookie = await web.session()
    other = await web.session()
    said = await web.post("/gateway/logout", cookie=cookie)
    assert (said.status, said.headers["Location"]) == (303, "/gateway/login")
    assert said.headers["Clear-Site-Data"] == '"cookies"'
    assert said.cookies["cgw_session"]["max-age"] == "0"
    assert (await web.get("/gateway/api/v1/me", cookie=cookie)).status == 401
    assert (await web.get("/gateway/api/v1/me", cookie=other)).status == 200
    assert (await web.post("/gateway/logout", cookie=cookie)).status == 303


async def test_C10_logout_ends_the_cookies_session_whatever_else_is_sent(web: Front) -> None:
    """With a password or a token beside the cookie it is still the cookie's session that ends."""
    cookie = await web.session()
    text = await web.token(await web.user("bob"))
    await web.post("/gateway/logout", cookie=cookie, x_api_key=text)
    assert (await web.get("/gateway/api/v1/me", cookie=cookie)).status == 401
    assert (await web.get("/gateway/api/v1/me", x_api_key=text)).status == 200


async def test_C04_a_get_logs_nobody_out(web: Front) -> None:
    """GET shows a button and changes nothing."""
    cookie = await web.session()
    said = await web.get("/gateway/logout", cookie=cookie)
    assert (said.status, said.cookies) == (200, {})
    assert Page(said.text).all("form") == [{"method": "post", "action": "/gateway/logout"}]
    assert (await web.get("/gateway/api/v1/me", cookie=cookie)).status == 200


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"origin": ""}, {"origin": "null"}])
async def test_C01_nobody_else_logs_me_out(web: Front, headers: dict[str, str]) -> None:
    """Another site cannot end a session."""
    cookie = await web.session()
    said = await web.post("/gateway/logout", cookie=cookie, **headers)
    assert (said.status, said.json["error"]["type"]) == (403, "csrf")
    assert (await web.get("/gateway/api/v1/me", cookie=cookie)).status == 200


async def test_the_account_page_needs_a_login(web: Front) -> None:
    """Without a session the account page leads to the login page and back; `/gateway` is the same page."""
    said = await web.get("/gateway/")
    assert (said.status, said.headers["Location"]) == (303, "/gateway/login?next=/gateway/")
    assert (await web.get("/gateway")).headers["Location"] == "/gateway/"


async def test_the_account_page(web: Front) -> None:
    """It says who one is, and leads to the editor and out."""
    said = await web.get("/gateway/", cookie=await web.session("root"))
    page = Page(said.text)
    assert re.search(r"root.*admin.*admin, read, submit", said.text, re.DOTALL)
    assert {"href": "/", "class": "button"} in page.all("a")
    assert page.all("form")[0]["action"] == "/gateway/logout"


async def test_C02_with_sec_fetch_site_alone(web: Front) -> None:
    """A browser that says same-origin instead of an Origin can log in."""
    form = {"name": "alice", "password": PASSWORD}
    assert (await web.post("/gateway/login", form, origin="", sec_fetch_site="same-origin")).status == 303


async def test_H26_no_absolute_links(web: Front) -> None:
    """Whatever Host says, no link or redirect carries it."""
    said = await web.ask("GET", "/gateway/login", headers={"Host": "evil.example"})
    assert "evil.example" not in said.text
    moved = await web.ask("GET", "/gateway", headers={"Host": "evil.example"})
    assert moved.headers["Location"] == "/gateway/"


async def test_head(web: Front) -> None:
    """HEAD of a page has its headers only."""
    said = await web.ask("HEAD", "/gateway/login")
    assert (said.status, said.body) == (200, b"")
    assert int(said.headers["Content-Length"]) > 500
