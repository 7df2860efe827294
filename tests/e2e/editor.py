"""ComfyUI's own frontend in a real Chromium, and what a person does in it. It does not know what should come of it."""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    FilePayload,
    Locator,
    Page,
    Playwright,
    Request,
    Response,
    WebSocket,
)

from tests.e2e.conftest import PATIENCE
from tests.e2e.graphs import Graph

TEXT = b"\x00\x00\x00\x03"
PREVIEW_WITH_METADATA = b"\x00\x00\x00\x04"
_MILLISECONDS = PATIENCE * 1000
_LOADED = "() => window.app?.graph && window.app.extensionManager && document.querySelector('#graph-canvas')"
_SHOWN = """([type, parts]) => window.app.graph.nodes.some((node) => node.type === type
    && node.imgs?.some((picture) => picture.naturalWidth > 0 && parts.every((part) => picture.src.includes(part))))"""
_WIDGET = """([type, label]) => {
    const node = window.app.graph.nodes.find((one) => one.type === type);
    const widget = node.widgets.find((one) => one.name === label);
    return window.app.canvasPosToClientPos([node.pos[0] + node.size[0] / 2, node.pos[1] + widget.last_y + 10]);
}"""
_VALUE = """([type, label]) => window.app.graph.nodes.find((node) => node.type === type)
    .widgets.find((widget) => widget.name === label).value"""


@dataclass  # Without slots: Playwright leaves a mark on the object whose methods it calls.
class Watch:
    """What a page asked for, what of it failed, and what its sockets and its console said."""

    origin: str
    frames: list[str | bytes] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)
    failures: set[str] = field(default_factory=set)
    called_off: set[str] = field(default_factory=set)
    _answered: set[Request] = field(default_factory=set)

    def attach(self, page: Page) -> None:
        page.on("response", self._response)
        page.on("requestfailed", self._failed)
        page.on("websocket", self._socket)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    def messages(self) -> list[dict[str, Any]]:
        """The text frames, in order."""
        return [json.loads(frame) for frame in self.frames if isinstance(frame, str)]

    def kinds(self) -> set[str]:
        return {message["type"] for message in self.messages()}

    def jobs(self) -> set[str]:
        """Every job that any frame names."""
        named = {message["data"].get("prompt_id") for message in self.messages()} - {None}
        return named | {metadata["prompt_id"] for metadata, _ in self.previews()}

    def previews(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The preview frames: what they say of themselves, and the picture."""
        for frame in self.frames:
            if isinstance(frame, bytes) and frame.startswith(PREVIEW_WITH_METADATA):
                end = 8 + int.from_bytes(frame[4:8], "big")
                yield json.loads(frame[8:end]), frame[end:]

    def texts(self) -> set[bytes]:
        """What nodes said of themselves in binary frames."""
        return {frame[8:] for frame in self.frames if isinstance(frame, bytes) and frame.startswith(TEXT)}

    def _response(self, response: Response) -> None:
        self._answered.add(response.request)
        self.answers.append(response)
        if response.status >= 400:
            self.failures.add(self._told(response.request))

    def _failed(self, request: Request) -> None:
        """An aborted one is not the server's: the page went on, had an empty body, or did not like what it got."""
        if not request.url.startswith(self.origin):
            return
        if request.failure != "net::ERR_ABORTED":
            self.failures.add(self._told(request))
        elif request not in self._answered:
            self.called_off.add(self._told(request))

    def _told(self, request: Request) -> str:
        address = urlsplit(request.url)
        query = f"?{address.query}" if address.query else ""
        return f"{request.method} {address.path}{query}"

    def _socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket.url)
        socket.on("framereceived", lambda frame: self.frames.append(frame))

    def _console(self, message: ConsoleMessage) -> None:
        """Errors; not those that say once more that a request failed."""
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)


@dataclass(slots=True)
class Editor:
    """One person's editor, in a browser profile of its own."""

    who: str
    context: BrowserContext
    page: Page
    watch: Watch
    shots: Path

    def shot(self, step: str) -> None:
        """Keep a picture of the page as it is now."""
        self.page.screenshot(path=self.shots / f"{step}.png")

    def log_in(self, name: str, password: str) -> None:
        """Open the gateway's address, log in where it leads, and wait until the editor has loaded what it wants."""
        self.page.goto(self.watch.origin)
        self.page.get_by_label("Name", exact=True).fill(name)
        self.page.get_by_label("Password or token").fill(password)
        self.shot(f"{self.who}-login")
        self.page.get_by_role("button", name="Log in").click()
        self.settle()

    def settle(self) -> None:
        """Wait until the editor is there and asks for nothing more."""
        self.page.wait_for_url(lambda url: urlsplit(url).path == "/")
        self.page.wait_for_function(_LOADED)
        self.page.wait_for_load_state("networkidle")

    def put_templates_away(self) -> None:
        """Close the dialog with templates that a new user is greeted with."""
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text(re.compile(r"^Showing \d+")).wait_for(state="attached")
        self.page.wait_for_function("() => document.querySelector('[role=dialog] img')?.complete")
        self.shot(f"{self.who}-templates")
        self.page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")

    def open_file(self, name: str, graph: Graph) -> None:
        """Choose a workflow file where Ctrl+O lets one choose, and wait for its tab and then its nodes."""
        body = json.dumps(graph).encode()
        file = FilePayload(name=f"{name}.json", mimeType="application/json", buffer=body)
        self.page.locator("#comfy-file-input").set_input_files(file)
        self.tab(name).wait_for()
        self.page.wait_for_function("count => window.app.graph.nodes.length === count", arg=len(graph))

    def run(self) -> str:
        """Press Run, and give the id of the job that comes of it."""
        with self.page.expect_response(lambda answer: urlsplit(answer.url).path == "/api/prompt") as submitted:
            self.page.get_by_test_id("queue-button").click()
        assert submitted.value.status == 200, submitted.value.text()
        return str(submitted.value.json()["prompt_id"])

    def save(self, name: str) -> None:
        """Save the open workflow (Ctrl+S) under a name, and wait for its tab."""
        self.page.keyboard.press("Control+s")
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("textbox").fill(name)
        dialog.get_by_role("button", name="Confirm").click()
        dialog.wait_for(state="hidden")
        self.tab(name).wait_for()

    def upload(self, name: str, data: bytes) -> Any:
        """Upload a picture with the button of LoadImage; the server's answer."""
        with self.page.expect_file_chooser() as chooser:
            self.press_widget("LoadImage", "upload")
        with self.page.expect_response(lambda answer: urlsplit(answer.url).path == "/api/upload/image") as uploaded:
            chooser.value.set_files(FilePayload(name=name, mimeType="image/png", buffer=data))
        self.wait_for_picture("LoadImage", f"filename={name}", "type=input")
        return uploaded.value.json()

    def tab(self, name: str) -> Locator:
        return self.page.get_by_test_id("workflow-tab").filter(has_text=re.compile(rf"^{re.escape(name)}$"))

    def active(self) -> Locator:
        """The button that says how many jobs are active, and shows the list of jobs."""
        return self.page.get_by_test_id("queue-overlay-toggle")

    def jobs(self) -> Locator:
        """The list of jobs, shown."""
        listed = self.page.get_by_test_id("queue-progress-overlay").get_by_test_id("job-assets-list")
        if not self.page.get_by_role("button", name="Clear queue").is_visible():
            self.active().click()
        return listed

    def sidebar(self, name: str) -> Locator:
        """One of the side panels, opened: `workflows` or `assets`."""
        self.page.get_by_test_id(f"{name}-tab-button").click()
        return self.page.locator(".side-bar-panel")

    def close_sidebar(self) -> None:
        """Put the side panel away: it covers the left of the canvas."""
        self.page.get_by_test_id("sidebar-close-button").click()
        self.page.locator(".side-bar-panel").wait_for(state="hidden")

    def wait_for_picture(self, node: str, *parts: str) -> None:
        """Wait until a node of this class shows a picture whose address has these parts."""
        self.page.wait_for_function(_SHOWN, arg=[node, list(parts)])

    def wait_for_saved(self, name: str) -> None:
        """Wait until SaveImage shows a picture that the server saved."""
        self.wait_for_picture("SaveImage", f"{self.watch.origin}/api/view?", f"filename={name}&", "type=output")

    def press_widget(self, node: str, widget: str) -> None:
        """Click a widget where it is drawn on the canvas."""
        self.page.wait_for_function("() => new Promise((drawn) => requestAnimationFrame(() => drawn(true)))")
        x, y = self.page.evaluate(_WIDGET, [node, widget])
        above = self.page.evaluate("([x, y]) => document.elementFromPoint(x, y)?.id", [x, y])
        assert above == "graph-canvas", f"{above!r} lies over {node}.{widget}"
        self.page.mouse.click(x, y)

    def widget(self, node: str, widget: str) -> Any:
        """The value that a node's widget has."""
        return self.page.evaluate(_VALUE, [node, widget])


@contextlib.contextmanager
def opened(
    playwright: Playwright, who: str, *, chromium: str, origin: str, profile: Path, shots: Path
) -> Iterator[Editor]:
    """A Chromium with a profile of its own that reaches the gateway and nothing else; `who` begins the names of what
    it does before anything else."""
    context = playwright.chromium.launch_persistent_context(
        profile, executable_path=chromium, viewport={"width": 1400, "height": 900}, args=["--disable-gpu"]
    )
    try:
        context.set_default_timeout(_MILLISECONDS)
        context.route(lambda url: not url.startswith(origin), lambda route: route.abort())
        page, watch = context.pages[0], Watch(origin)
        watch.attach(page)
        yield Editor(who, context, page, watch, shots)
    finally:
        context.close()


def emptied(folder: Path) -> Path:
    """A folder with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
