"""Today's ComfyUI frontend in a real Chromium, through the gateway, logged in with the session cookie.

Nothing leaves the machine: what the page asks of other origins (comfy.org, measuring, model sites) is cut off, and only
requests to the gateway count as failed. Workflows are opened from files, run, uploaded to and saved as a person does
it, with keys and clicks; only what is drawn on the canvas is read through the frontend's own `window.app`. Each step
leaves a picture in TEST_ARTIFACTS, or in tests/artifacts.
"""

import io
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image
from playwright.sync_api import Playwright, expect

from tests.e2e.conftest import PATIENCE, Door
from tests.e2e.editor import Editor, opened
from tests.e2e.graphs import loaded, picture, slow
from tests.e2e.people import Person, person, pictures
from tests.needs import needs

# What a new user does not have yet, and a frontend asks for all the same: ComfyUI answers these with 404 too.
NOT_THERE_YET = {
    "GET /user.css",
    "GET /api/userdata/user.css",
    "GET /api/userdata/comfy.templates.json",
    "GET /api/userdata?dir=workflows&recurse=true&split=false&full_info=true",
    "GET /api/userdata?dir=subgraphs&recurse=true&split=false&full_info=true",
}
# What today's frontend asks for and an old ComfyUI does not have.
NEWER = {"GET /api/global_subgraphs", "GET /templates/index_logo.json"}
TEMPLATE_PICTURE = re.compile(r"GET /templates/[^?]+\.(webp|png|jpg|mp3|mp4)")
# Asked for when the list of workflows is opened: which of them are favourites.
NO_FAVOURITES = {"GET /api/userdata/workflows%2F.index.json"}


@pytest.fixture(scope="module")
def shots(door: Door) -> Path:
    """Where the pictures go: a folder for each version of ComfyUI."""
    return pictures(door, "editor")


@pytest.fixture(scope="module")
def not_there(door: Door) -> set[str]:
    """All that a new user's frontend may ask for in vain, with this ComfyUI."""
    missing = {line for line in NEWER if status(door.comfy.url, line) == 404}
    assert not missing or status(door.comfy.url, "GET /api/jobs") == 404, "only an old ComfyUI lacks them"
    return NOT_THERE_YET | missing


def status(origin: str, line: str) -> int:
    return requests.get(origin + line.removeprefix("GET "), timeout=PATIENCE).status_code


@pytest.fixture(scope="module")
def ann(door: Door) -> Person:
    return person(door, "ann")


@pytest.fixture(scope="module")
def editor(
    playwright: Playwright, door: Door, ann: Person, shots: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Editor]:
    """Ann's editor, as it is after she has logged in for the first time."""
    profile = tmp_path_factory.mktemp("profile")
    with opened(
        playwright, "01-ann", chromium=needs("chromium"), origin=door.url, profile=profile, shots=shots
    ) as made:
        made.log_in(ann.name, ann.password)
        made.put_templates_away()
        yield made


def failures(editor: Editor, door: Door) -> set[str]:
    """What failed, and what the page called off and would have failed; without pictures that ComfyUI has not."""
    failed = editor.watch.failures | {line for line in editor.watch.called_off if asked(editor, line) >= 400}
    return failed - unillustrated(failed, door)


def asked(editor: Editor, line: str) -> int:
    """The status when the editor's user asks this once more."""
    method, path = line.split(" ", 1)
    return editor.page.request.fetch(editor.watch.origin + path, method=method).status


def unillustrated(lines: set[str], door: Door) -> set[str]:
    """Those that are pictures of templates which this ComfyUI itself has not: one may install it without them."""
    return {line for line in lines if TEMPLATE_PICTURE.fullmatch(line) and status(door.comfy.url, line) == 404}


def test_it_loads_without_failed_requests(editor: Editor, door: Door, not_there: set[str]) -> None:
    """The editor loads behind the session cookie, and nothing that it asks for fails but what a new user has not."""
    editor.shot("02-loaded")
    assert failures(editor, door) == not_there
    assert {asked(editor, line) for line in not_there} == {404}
    assert [cookie["httpOnly"] for cookie in editor.context.cookies()] == [True]
    assert len(editor.watch.answers) > 200, "it is the whole frontend"
    known = {"Failed to fetch: 404"} if unillustrated(editor.watch.failures, door) else set()
    assert {said for said in editor.watch.complaints if "/user.css" not in said} <= known
    assert len(editor.watch.sockets) == 1
    assert editor.watch.kinds() >= {"status", "feature_flags"}


def test_a_job_runs_with_live_previews(editor: Editor) -> None:
    """A job that is run shows previews and texts in its node and in the list of jobs, and then its picture."""
    word = uuid.uuid4().hex[:8]
    editor.open_file(f"previews {word}", slow(word, seconds=4, steps=16, prefix=word, color=0x2E7D5B))
    job = editor.run()
    expect(editor.page.get_by_test_id("dom-widgets")).to_contain_text(re.compile(r"step \d+/16"))
    editor.wait_for_picture("LabSlow", "blob:")
    running = editor.jobs().locator("img[src^='blob:']")
    running.wait_for()
    editor.shot("03-previews")
    editor.wait_for_saved(f"{word}_00001_.png")
    expect(editor.active()).to_contain_text("0 active")
    editor.shot("04-picture")
    previews = list(editor.watch.previews())
    assert {metadata["prompt_id"] for metadata, _ in previews} == {job}
    assert {metadata["display_node_id"] for metadata, _ in previews} == {"2"}
    assert len({body for _, body in previews}) > 1, "the pictures come while it runs"
    assert all(Image.open(io.BytesIO(body)).size == (512, 512) for _, body in previews)
    assert editor.watch.kinds() >= {"execution_start", "progress_state", "executed", "execution_success"}


def test_its_own_queue_and_history_are_shown(editor: Editor) -> None:
    """What runs, what waits and what is done are listed; the queue is emptied and the running job cancelled."""
    word = uuid.uuid4().hex[:8]
    editor.open_file(f"done {word}", picture(0x91461F, prefix=word))
    editor.run()
    editor.wait_for_saved(f"{word}_00001_.png")
    expect(editor.jobs()).to_contain_text(f"{word}_00001_.png")
    editor.open_file(f"queue {word}", slow(word, seconds=60, steps=600, color=0x2E7D5B))
    for _ in range(3):
        editor.run()
    overlay = editor.page.get_by_test_id("queue-progress-overlay")
    expect(overlay).to_contain_text("1 running, 2 queued")
    expect(editor.active()).to_contain_text("3 active")
    editor.shot("05-queue")
    editor.page.get_by_role("button", name="Clear queue").click()
    expect(editor.active()).to_contain_text("1 active")
    editor.page.get_by_role("button", name="Cancel current run").click()
    expect(editor.active()).to_contain_text("0 active")
    expect(editor.jobs()).to_contain_text(f"{word}_00001_.png")
    editor.shot("06-history")
    assert editor.watch.kinds() >= {"execution_interrupted"}


def test_an_uploaded_image_is_loaded_and_run(editor: Editor) -> None:
    """A picture that LoadImage's button uploads is shown, is the node's value, and is what the job works on."""
    word = uuid.uuid4().hex[:8]
    editor.open_file(f"upload {word}", loaded(prefix=word))
    answer = editor.upload(f"{word}.png", png((200, 120, 40)))
    assert answer == {"name": f"{word}.png", "subfolder": "", "type": "input"}
    assert editor.widget("LoadImage", "image") == f"{word}.png"
    editor.shot("07-uploaded")
    editor.run()
    editor.wait_for_saved(f"{word}_00001_.png")
    expect(editor.active()).to_contain_text("0 active")
    editor.shot("08-uploaded-and-run")
    saved = editor.page.request.get(f"{editor.watch.origin}/view?filename={word}_00001_.png")
    shown = Image.open(io.BytesIO(saved.body())).getpixel((9, 9))
    # The real server computes in fractions and rounds down, so a channel may be less by one.
    assert all(wanted - got in (0, 1) for wanted, got in zip((55, 135, 215), shown, strict=True))


def png(color: tuple[int, int, int]) -> bytes:
    """A picture of one color."""
    made = io.BytesIO()
    Image.new("RGB", (96, 64), color).save(made, "PNG")
    return made.getvalue()


def test_a_workflow_is_saved_and_opened_again(editor: Editor, door: Door, not_there: set[str]) -> None:
    """A workflow saved with Ctrl+S and closed is in the list when the page was loaded anew, and opens as it was."""
    word = uuid.uuid4().hex[:8]
    editor.open_file(f"draft {word}", picture(0x1F4691, prefix=word))
    editor.save(f"kept {word}")
    editor.shot("09-saved")
    tab = editor.tab(f"kept {word}")
    tab.get_by_test_id("close-workflow-button").click()
    tab.wait_for(state="detached")
    editor.page.reload()
    editor.settle()
    expect(editor.tab(f"kept {word}")).to_have_count(0)
    kept = editor.sidebar("workflows").get_by_text(f"kept {word}")
    with editor.page.expect_response(lambda answer: f"/api/userdata/workflows%2Fkept%20{word}" in answer.url) as read:
        kept.click()
    assert read.value.status == 200
    editor.page.wait_for_function("() => window.app.graph.nodes.length === 3")
    editor.tab(f"kept {word}").wait_for()
    editor.shot("10-opened-again")
    editor.close_sidebar()
    assert editor.widget("SaveImage", "filename_prefix") == word
    assert editor.widget("EmptyImage", "color") == 0x1F4691
    assert failures(editor, door) <= not_there | NO_FAVOURITES
    assert not [said for said in editor.watch.complaints if said.startswith("uncaught")]


def test_a_second_user_in_a_second_profile_sees_none_of_it(
    editor: Editor, ann: Person, door: Door, playwright: Playwright, shots: Path, tmp_path: Path
) -> None:
    """While one works, another's editor shows and receives nothing of it: no job, picture, upload, workflow, event."""
    bob, word, secret, chromium = person(door, "bob"), uuid.uuid4().hex[:8], uuid.uuid4().hex, needs("chromium")
    with opened(playwright, "11-bob", chromium=chromium, origin=door.url, profile=tmp_path, shots=shots) as other:
        other.log_in(bob.name, bob.password)
        other.put_templates_away()
        hers = work_in_secret(editor, secret)
        other.open_file(f"mine {word}", slow(word, seconds=1, steps=3, prefix=word, color=0x7D2E5B))
        his = other.run()
        other.wait_for_saved(f"{word}_00001_.png")
        editor.wait_for_saved(f"{secret}_00001_.png")
        expect(other.active()).to_contain_text("0 active")
        expect(other.jobs().locator("img")).to_have_count(1)
        other.shot("12-bobs-jobs")
        expect(other.sidebar("assets").locator("img")).to_have_count(1)
        other.shot("13-bobs-pictures")
        expect(other.sidebar("workflows")).to_contain_text("No workflows found")
        other.shot("14-bobs-workflows")
        for text in told(other):
            assert not any(hidden in text for hidden in (secret, ann.name, hers))
        assert other.watch.jobs() == {his}
        assert other.watch.texts() == {b"2step %d/3" % step for step in (1, 2, 3)}
        assert max(lengths(other)) == 1, "the queue's length counts one's own jobs only"
        for path in (
            f"view?filename={secret}_00001_.png",
            f"view?filename={secret}.png&type=input",
            f"userdata/workflows%2Fplan%20{secret}.json",
        ):
            assert editor.page.request.get(f"{door.url}/api/{path}").status == 200
            assert other.page.request.get(f"{door.url}/api/{path}").status == 404


def work_in_secret(editor: Editor, secret: str) -> str:
    """Upload, save a workflow, and run a job, each with this word in its name; the job's id."""
    editor.open_file(f"upload {secret}", loaded(prefix=secret))
    editor.upload(f"{secret}.png", png((40, 40, 200)))
    editor.open_file(f"draft {secret}", slow(secret, seconds=2, steps=16, prefix=secret))
    editor.save(f"plan {secret}")
    return editor.run()


def told(editor: Editor) -> Iterator[str]:
    """All that an editor shows, has received as events, and gets when it asks once more for what it has asked for."""
    yield editor.page.content()
    yield from (frame for frame in editor.watch.frames if isinstance(frame, str))
    for url in {answer.url for answer in editor.watch.answers if "/api/" in answer.url}:
        yield editor.page.request.get(url).text()


def lengths(editor: Editor) -> list[int]:
    """Every length of the queue that an editor was told."""
    statuses = [message["data"]["status"] for message in editor.watch.messages() if message["type"] == "status"]
    return [status["exec_info"]["queue_remaining"] for status in statuses]
