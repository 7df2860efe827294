"""Logins at a provider, as a browser makes them, and as nobody should."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.oidc.conftest import Town

ANN = {"sub": "u-1", "email": "ann@example.org", "email_verified": True}


def refused(town: Town, browser: requests.Session, said: requests.Response, status: int) -> str:
    """The login page again, with nobody logged in; what it says."""
    assert said.status_code == status, said.text
    assert 'role="alert"' in said.text and "Traceback" not in said.text
    assert town.me(browser) == 401
    return said.text


def changed(address: str, **query: str | None) -> str:
    """The address to which the provider sends the browser, with something else in it; None takes it away."""
    parts = urlsplit(address)
    values = {name: found[0] for name, found in parse_qs(parts.query).items()}
    kept = {name: value for name, value in {**values, **query}.items() if value is not None}
    return parts._replace(query=requests.models.RequestEncodingMixin._encode_params(kept)).geturl()


def test_C16_a_login_leads_back_to_where_one_was_going(town: Town, browser: requests.Session) -> None:
    """Out to the provider and back by another site's link: a session begins, and the browser goes on."""
    said = town.login(browser, next_address="/gateway/docs")
    assert (said.status_code, said.headers["Location"]) == (303, "/gateway/docs"), said.text
    me = town.me(browser)
    assert isinstance(me, dict)
    assert (me["name"], me["role"], me["via"]) == ("ann@example.org", "member", "session")
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert browser.get(f"{town.url}/system_stats", headers=headers, timeout=20).status_code == 200


def test_the_button_is_on_the_login_page(town: Town, browser: requests.Session) -> None:
    """Each provider has a button with its title, which keeps where one was going."""
    text = browser.get(f"{town.url}/gateway/login?next=/gateway/docs", timeout=20).text
    assert 'href="/gateway/sso/company?next=/gateway/docs"' in text and "Log in with the company" in text
    assert "Log in with guests" in text


def test_what_the_cookies_are(town: Town, browser: requests.Session) -> None:
    """The login's cookie is for scripts not to read, Lax, short-lived, and gone when the login is over."""
    out = browser.get(f"{town.url}/gateway/sso/company", allow_redirects=False, timeout=20)
    assert out.headers["Cache-Control"] == "no-store"
    cookie = out.headers["Set-Cookie"].lower()
    assert cookie.startswith("cgw_login=") and "httponly" in cookie and "samesite=lax" in cookie
    assert "max-age=600" in cookie and "path=/" in cookie and "domain" not in cookie
    said = town.login(browser)
    assert "cgw_login" not in browser.cookies and "cgw_session" in browser.cookies
    assert "cgw_login=" in said.headers["Set-Cookie"] and "Max-Age=0" in said.headers["Set-Cookie"]


def test_C07_the_session_is_a_new_one(town: Town, browser: requests.Session) -> None:
    """A login ends the session that the browser had, and begins one with another id."""
    town.login(browser)
    before = browser.cookies["cgw_session"]
    town.login(browser)
    assert browser.cookies["cgw_session"] != before
    assert town.me(requests.Session(), Cookie=f"cgw_session={before}") == 401


@pytest.mark.parametrize(
    "next_address", ["//evil.example", "https://evil.example", "/\\evil.example", "/%09/evil.example"]
)
def test_C11_nobody_is_led_elsewhere(town: Town, browser: requests.Session, next_address: str) -> None:
    """What is no address of ours is not where a login leads."""
    assert town.login(browser, next_address=next_address).headers["Location"] == "/"


def test_a_user_is_the_subject_and_no_name(town: Town, browser: requests.Session) -> None:
    """Somebody with another's name or address at the provider is somebody else here, and no local user either."""
    town.door.command("user", "add", "root2", "--role", "admin", "--password-stdin", stdin="a long password")
    for sub, name in (("t-1", "tim"), ("t-2", "tim"), ("t-3", "ROOT2"), ("t-4", "admin")):
        address = {"email": f"{sub}@example.org", "email_verified": True}
        town.provider.told(claims={"sub": sub, "preferred_username": name, **address})
        with requests.Session() as other:
            town.login(other)
            me = town.me(other)
            assert isinstance(me, dict) and me["role"] == "member"
            assert me["name"] == ("tim" if sub == "t-1" else f"{sub}@example.org")
    town.provider.told(claims={**ANN, "sub": "t-1", "preferred_username": "someone-else", "email": "x@example.org"})
    town.login(browser)
    me = town.me(browser)
    assert isinstance(me, dict) and me["name"] == "tim"


def test_T12_role_and_groups_are_read_anew_each_time(town: Town, browser: requests.Session) -> None:
    """Who is in the group of administrators at the provider is one here, until the next login without it."""
    for groups, role in (
        (["x", "comfy-admins"], "admin"),
        (["x"], "member"),
        (["comfy-admins"], "admin"),
        (None, "member"),
    ):
        claims = {**ANN, "sub": "r-1", "preferred_username": "rita", "groups": groups}
        town.provider.told(claims={name: value for name, value in claims.items() if value is not None})
        town.login(browser)
        me = town.me(browser)
        assert isinstance(me, dict) and (me["name"], me["role"]) == ("rita", role)


def test_groups_may_stand_in_the_user_info(town: Town, browser: requests.Session) -> None:
    """Names and groups that the provider says only where the access token leads count as well."""
    info = {"sub": "i-1", "preferred_username": "ina", "groups": ["comfy-admins"], **{k: ANN[k] for k in list(ANN)[1:]}}
    town.provider.told(claims={"sub": "i-1"}, user_info=info)
    town.login(browser)
    me = town.me(browser)
    assert isinstance(me, dict) and (me["name"], me["role"]) == ("ina", "admin")


def test_user_info_of_somebody_else(town: Town, browser: requests.Session) -> None:
    """What is said of another subject ends the login."""
    town.provider.told(claims=ANN, user_info={"sub": "u-2", "groups": ["comfy-admins"]})
    refused(town, browser, town.login(browser), 400)


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "ann@evil.example"},
        {"email": "ann@evil.example@example.org"},
        {"email_verified": False},
        {"email_verified": None},
        {"email": None},
    ],
)
def test_who_may_not_come_in(town: Town, browser: requests.Session, claims: dict[str, Any]) -> None:
    """Without a verified address in an allowed domain nobody comes in, and no user is made."""
    said = {**ANN, "sub": "stranger", "preferred_username": "stranger", **claims}
    town.provider.told(claims={name: value for name, value in said.items() if value is not None})
    refused(town, browser, town.login(browser), 403)
    assert town.user("stranger") is None


def test_allowed_groups(town: Town, browser: requests.Session) -> None:
    """A provider for some groups lets in who is in one, for as long as the settings say."""
    town.provider.told(claims={"sub": "g-1", "preferred_username": "gus", "groups": ["staff"]})
    refused(town, browser, town.login(browser, name="guests"), 403)
    town.provider.told(claims={"sub": "g-1", "preferred_username": "gus", "groups": ["guests"]})
    said = town.login(browser, name="guests")
    assert said.status_code == 303 and "Max-Age=3600" in said.headers["Set-Cookie"]


def test_who_is_no_user_and_does_not_become_one(town: Town, browser: requests.Session) -> None:
    """Where no users are made, only those come in whom an administrator has linked."""
    town.provider.told(claims={"sub": "l-1", "preferred_username": "lea"})
    refused(town, browser, town.login(browser, name="strangers"), 403)
    town.door.command("user", "add", "lea")
    refused(town, browser, town.login(browser, name="strangers"), 403)
    town.door.command("user", "link", "lea", town.provider.url, "l-1")
    town.login(browser, name="strangers")
    me = town.me(browser)
    assert isinstance(me, dict) and me["name"] == "lea"
    assert "l-1" in town.door.command("user", "links")
    town.door.command("user", "unlink", town.provider.url, "l-1")
    with requests.Session() as other:
        refused(town, other, town.login(other, name="strangers"), 403)


def test_a_disabled_user(town: Town, browser: requests.Session) -> None:
    """Whoever is disabled here does not come in, whatever the provider says."""
    town.provider.told(claims={**ANN, "sub": "d-1", "preferred_username": "dora"})
    town.login(browser)
    town.door.command("user", "disable", "dora")
    assert town.me(browser) == 401
    refused(town, browser, town.login(browser), 403)


@pytest.mark.parametrize(
    ("row", "token"),
    [
        ("T06", {"nonce": "another"}),
        ("T06", {"nonce": None}),
        ("T06", {"aud": "other"}),
        ("T06", {"aud": ["comfy", "other"]}),
        ("T06", {"azp": "other"}),
        ("T06", {"iss": "http://evil.example"}),
        ("T04", {"exp": 1}),
        ("T04", {"exp": None}),
        ("T05", {"iat": 99999999999, "exp": 99999999999 + 60}),
        ("T05", {"nbf": 99999999999}),
        ("T07", {"sub": "../x"}),
        ("T07", {"sub": None}),
        ("at_hash", {"at_hash": "AAAA"}),
    ],
)
def test_an_id_token_that_does_not_hold(town: Town, browser: requests.Session, row: str, token: dict[str, Any]) -> None:
    """An ID token with a wrong nonce, audience, issuer or time, or of no subject, ends the login."""
    town.provider.told(claims=ANN, token=token)
    refused(town, browser, town.login(browser), 400)


@pytest.mark.parametrize(
    "header", [{"alg": "none"}, {"alg": "HS256"}, {"kid": "../x"}, {"jku": "http://evil/"}, {"crit": []}]
)
def test_an_id_token_with_another_header(town: Town, browser: requests.Session, header: dict[str, Any]) -> None:
    """An ID token whose header says anything else than the key is for ends the login."""
    town.provider.told(claims=ANN, header=header)
    refused(town, browser, town.login(browser), 400)


def test_replay_of_what_came_back(town: Town, browser: requests.Session) -> None:
    """An answer of the provider counts once, also with the same cookie; so does its code."""
    address = town.begin(browser)
    cookie = browser.cookies["cgw_login"]
    assert town.back(browser, address).status_code == 303
    before = town.provider.seen()["asked"]["token"]
    with requests.Session() as thief:
        refused(town, thief, town.back(thief, address), 400)
        thief.cookies.set("cgw_login", cookie)
        refused(town, thief, town.back(thief, address), 400)
    assert town.provider.seen()["asked"]["token"] == before
    with requests.Session() as other:
        code = parse_qs(urlsplit(address).query)["code"][0]
        refused(town, other, town.back(other, changed(town.begin(other), code=code)), 400)


def test_another_browsers_login(town: Town, browser: requests.Session) -> None:
    """A victim who is led to an attacker's answer is not logged in as the attacker: the state is the browser's."""
    with requests.Session() as attacker:
        address = town.begin(attacker)
    refused(town, browser, town.back(browser, address), 400)
    town.begin(browser)
    refused(town, browser, town.back(browser, address), 400)


@pytest.mark.parametrize(
    "query", [{"state": None}, {"state": "x"}, {"state": ""}, {"code": None}, {"code": "x" * 5000}]
)
def test_an_answer_without_its_parts(town: Town, browser: requests.Session, query: dict[str, Any]) -> None:
    """Without the state and the code of this login nothing comes of an answer."""
    refused(town, browser, town.back(browser, changed(town.begin(browser), **query)), 400)


def test_two_values_of_one_name(town: Town, browser: requests.Session) -> None:
    """An answer that can be read in two ways is refused."""
    refused(town, browser, town.back(browser, town.begin(browser) + "&state=x"), 400)


@pytest.mark.parametrize("named", [None, "http://evil.example", ""])
def test_mix_up(town: Town, browser: requests.Session, named: str | None) -> None:
    """An answer that names another issuer, or none where the provider always names itself, is refused (RFC 9207)."""
    before = town.provider.seen()["asked"].get("token", 0)
    refused(town, browser, town.back(browser, changed(town.begin(browser), iss=named)), 400)
    assert town.provider.seen()["asked"].get("token", 0) == before


def test_the_answer_to_another_provider(town: Town, browser: requests.Session) -> None:
    """What one provider was asked for is not taken where another one's answer comes."""
    address = town.begin(browser).replace("/sso/company/", "/sso/guests/")
    refused(town, browser, town.back(browser, address), 400)


def test_the_provider_says_no(town: Town, browser: requests.Session) -> None:
    """An error is said as such, and nothing that it says is shown."""
    town.provider.told(claims=ANN, answer={"code": None, "error": "access_denied", "error_description": "<b>boo</b>"})
    assert "boo" not in refused(town, browser, town.login(browser), 403)
    town.provider.told(claims=ANN, answer={"error": "<script>", "error_description": "boo"})
    assert "script>" not in refused(town, browser, town.login(browser), 400)


def test_a_provider_that_is_not_there(town: Town, browser: requests.Session) -> None:
    """While a provider cannot be asked, the login page says so, and one can try again."""
    said = browser.get(f"{town.url}/gateway/sso/nowhere", allow_redirects=False, timeout=20)
    refused(town, browser, said, 503)
    assert said.headers["Retry-After"] == "10" and "127.0.0.1:9" not in said.text
    town.provider.told(claims=ANN, down=["token"])
    refused(town, browser, town.login(browser), 503)
    town.provider.told(claims=ANN, down=["userinfo"])
    refused(town, browser, town.login(browser), 503)


def test_an_unknown_provider(town: Town, browser: requests.Session) -> None:
    """There is no address for a provider that the settings do not have."""
    for path in ("nobody", "nobody/callback?code=x&state=y", "company/callback/x", "..%2fcompany"):
        assert browser.get(f"{town.url}/gateway/sso/{path}", allow_redirects=False, timeout=20).status_code in (
            400,
            404,
        )
    assert browser.post(f"{town.url}/gateway/sso/company", timeout=20).status_code == 405


def test_another_host_leads_to_the_public_one(town: Town, browser: requests.Session) -> None:
    """Whoever comes by another name is sent to the public one, once, because the cookie is bound to the name."""
    said = browser.get(f"{town.door.url}/gateway/sso/company?next=/x", allow_redirects=False, timeout=20)
    assert said.headers["Location"] == f"{town.url}/gateway/sso/company?next=/x&moved=1"
    again = browser.get(f"{town.door.url}/gateway/sso/company?moved=1", allow_redirects=False, timeout=20)
    assert again.headers["Location"].startswith(town.provider.url)


def test_nothing_secret_is_logged(town: Town, browser: requests.Session) -> None:
    """Neither codes, states, cookies, secrets nor ID tokens are in the gateway's log."""
    address = town.begin(browser)
    cookie = browser.cookies["cgw_login"]
    town.back(browser, address)
    log = town.door.log.read_text()
    query = parse_qs(urlsplit(address).query)
    for secret in (
        query["code"][0],
        query["state"][0],
        cookie,
        "s3cr",
        "eyJ",
        town.provider.seen()["last"]["token"]["code_verifier"],
    ):
        assert secret not in log
