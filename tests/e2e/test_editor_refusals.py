"""What ComfyUI's own editor says when the gateway refuses a job: its error dialog, with the gateway's words.

Each test leaves a picture of the dialog beside those of the editor.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Playwright, expect

from tests.e2e.conftest import Door
from tests.e2e.editor import Editor, opened
from tests.e2e.graphs import picture, slow
from tests.e2e.people import Person, person, pictures
from tests.needs import needs

Browse = Callable[[Person, str], Editor]


@pytest.fixture(scope="module")
def shots(door: Door) -> Path:
    """Where the pictures go."""
    return pictures(door, "editor-refusals")


@pytest.fixture
def browse(playwright: Playwright, door: Door, shots: Path, tmp_path: Path) -> Iterator[Browse]:
    """Opens the editor of a person who has just logged in; `what` begins the names of the pictures."""
    with ExitStack() as browsers:

        def begin(who: Person, what: str) -> Editor:
            browser: AbstractContextManager[Editor] = opened(
                playwright, what, chromium=needs("chromium"), origin=door.url, profile=tmp_path / what, shots=shots
            )
            editor = browsers.enter_context(browser)
            editor.log_in(who.name, who.password)
            editor.put_templates_away()
            return editor

        yield begin


def refused(editor: Editor, status: int) -> dict[str, Any]:
    """Press Run and be refused: the error of the answer."""
    with editor.page.expect_response(lambda answer: urlsplit(answer.url).path == "/api/prompt") as submitted:
        editor.page.get_by_test_id("queue-button").click()
    assert submitted.value.status == status, submitted.value.text()
    return dict(submitted.value.json()["error"])


def shown(editor: Editor, name: str, *words: str) -> None:
    """The editor says all of it by itself, and again in its list of issues; both are kept as pictures."""
    overlay = editor.page.get_by_test_id("error-overlay")
    for text in words:
        expect(overlay).to_contain_text(text)
    editor.shot(name)
    overlay.get_by_role("button", name="View details").click()
    for text in words:
        expect(editor.page.get_by_test_id("properties-panel")).to_contain_text(text)
    editor.shot(f"{name}-details")


def test_too_many_submits(door: Door, browse: Browse) -> None:
    """`rate_limited`: how many submits in which time, and after how many seconds one may try again."""
    editor = browse(person(door, "hasty", rates__submit="1/minute"), "rate")
    editor.open_file("quick", picture())
    editor.run()
    # The editor takes its errors back when a job begins.
    editor.wait_for_saved("picture_00001_.png")
    expect(editor.active()).to_contain_text("0 active")
    error = refused(editor, 429)
    assert error["type"] == "rate_limited"
    seconds = error["extra_info"]["retry_after_seconds"]
    shown(editor, "rate_limited", "at most 1 in a minute", f"Try again in {seconds} second")


def test_a_full_queue(door: Door, browse: Browse) -> None:
    """`queue_full`: how many jobs one may have, how many one has, and what frees a place."""
    editor = browse(person(door, "busy", max_queued=1), "queue")
    editor.open_file("long", slow("long", seconds=20, steps=40))
    editor.run()
    editor.wait_for_picture("LabSlow")
    error = refused(editor, 429)
    assert error["type"] == "queue_full"
    shown(
        editor, "queue_full", "you may have 1 job waiting or running, and have 1", "room again as soon as one of them"
    )


def test_a_budget_that_is_used_up(door: Door, browse: Browse) -> None:
    """`budget_exhausted`: the budget, what was used of it, and when it begins anew."""
    editor = browse(person(door, "poor", gpu_seconds_per_day=1), "budget")
    editor.open_file("dear", slow("dear", seconds=2))
    editor.run()
    editor.wait_for_saved("slow_00001_.png")
    expect(editor.active()).to_contain_text("0 active")
    error = refused(editor, 429)
    assert error["type"] == "budget_exhausted"
    day = error["extra_info"]["resets_at"].partition("T")[0]
    shown(editor, "budget_exhausted", "of 1 seconds this day", f"It begins anew on {day} at 00:00 UTC.")
