"""A login at a provider in a real browser: the provider and the gateway are different sites to it."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.needs import needs
from tests.oidc.conftest import Town

SHOTS = Path(os.environ.get("TEST_ARTIFACTS", "tests/artifacts"))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    chromium = needs("chromium")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path, executable_path=chromium, viewport={"width": 420, "height": 800}, args=["--disable-gpu"]
        )
        yield context.new_page()
        context.close()


def test_C16_a_person_logs_in_by_the_button(town: Town, page: Page) -> None:
    """Opening a page leads to the login page; the button there, and the one at the provider, lead back to that page,
    and what is opened next needs no login; a provider that says no leads to the login page, with a word about it."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    claims = {"sub": "b-1", "preferred_username": "bea", "email": "bea@example.org", "email_verified": True}
    town.provider.told(claims=claims, asks=True, answer={"code": None, "error": "access_denied"})
    page.goto(f"{town.url}/queue?from=here")
    assert urlsplit(page.url).path == "/gateway/login"
    page.get_by_role("link", name="Log in with the company").click()
    assert page.get_by_role("heading").inner_text() == "Provider"
    page.get_by_role("link", name="Continue as b-1").click()
    page.get_by_role("alert").wait_for()
    page.screenshot(path=SHOTS / "sso-refused.png")
    town.provider.told(claims=claims, asks=True)
    page.goto(f"{town.url}/queue?from=here")
    page.screenshot(path=SHOTS / "sso-login.png")
    page.get_by_role("link", name="Log in with the company").click()
    page.get_by_role("link", name="Continue as b-1").click()
    page.wait_for_url(f"{town.url}/queue?from=here")
    assert "queue_running" in page.inner_text("body")
    page.goto(f"{town.url}/gateway/")
    assert "bea" in page.inner_text("main")
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies.keys() & {"cgw_session", "cgw_login"} == {"cgw_session"}
    assert cookies["cgw_session"]["httpOnly"] and cookies["cgw_session"]["sameSite"] == "Lax"
