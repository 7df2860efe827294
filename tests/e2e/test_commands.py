"""What an operator sees of `serve` and `demo`: the first start, the second one, the curl line, and the end."""

import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import PATIENCE, VERSIONS, Comfy, free_port, start_comfy, start_gateway, stop, wait_for
from tests.needs import needs

PNG = b"\x89PNG\r\n\x1a\n"


def printed(log: Path, pattern: str) -> re.Match[str]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text(), re.MULTILINE):
            return found
        time.sleep(0.1)
    pytest.fail(f"nothing like {pattern!r} in:\n{log.read_text()}")


def test_the_first_start_makes_an_administrator_and_says_so_once(tmp_path: Path) -> None:
    """The first start creates database, keys (0600) and an administrator, and prints once where to log in and with
    what."""
    comfy = start_comfy(VERSIONS[0], tmp_path)
    door = start_gateway(comfy, tmp_path / "data")
    try:
        login, name, password = printed(door.log, r"^Log in at (\S+) as (\S+) with the password (\S+)$").groups()
        session = requests.Session()
        form = {"name": name, "password": password}
        session.post(login, data=form, headers={"Origin": door.url}, timeout=PATIENCE)
        assert session.get(f"{door.url}/internal/logs", timeout=PATIENCE).status_code == 200, "it is an administrator"
        keys = tmp_path / "data" / "keys.json"
        assert stat.S_IMODE(keys.stat().st_mode) == 0o600
        stop(door.process)
        again = start_gateway(comfy, tmp_path / "data")
        assert door.log.read_text().count(password) == 1
        assert session.get(f"{again.url}/queue", timeout=PATIENCE).status_code == 200, "a restart logs nobody out"
        stop(again.process)
    finally:
        stop(comfy.process)


def test_comfyui_may_be_down_at_start(tmp_path: Path) -> None:
    """The gateway starts without ComfyUI, says 503 for what needs it, and connects as soon as it is there."""
    comfy = start_comfy(VERSIONS[0], tmp_path)
    stop(comfy.process)
    port, log = free_port(), tmp_path / "gateway.log"
    words = ["serve", "--comfyui", comfy.url, "--port", str(port), "--data-dir", str(tmp_path / "data")]
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "gateway", *words], stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/gateway/healthz", process, log)
        assert requests.get(f"{url}/gateway/readyz", timeout=PATIENCE).status_code == 503
        address = ["--port", comfy.url.rsplit(":", 1)[1]]
        with (tmp_path / "comfyui.log").open("ab") as output:
            late = subprocess.Popen([sys.executable, "-m", "gateway.demo", *address], stdout=output, stderr=output)
        try:
            wait_until_ready(url)
        finally:
            stop(late)
    finally:
        stop(process)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while requests.get(f"{url}/gateway/readyz", timeout=PATIENCE).status_code != 200:
        assert time.monotonic() < deadline, "it never connected"
        time.sleep(0.1)


def test_sigterm_ends_it_cleanly(comfy: Comfy, tmp_path: Path) -> None:
    """SIGTERM ends the gateway within the deadline, and its log shows no traceback."""
    door = start_gateway(comfy, tmp_path / "data")
    door.process.send_signal(signal.SIGTERM)
    assert door.process.wait(PATIENCE) in (0, -signal.SIGTERM)
    assert "Traceback" not in door.log.read_text()


def test_the_demos_curl_line_makes_a_picture(tmp_path: Path) -> None:
    """`comfy-gateway demo` prints two users' tokens and one curl line; that line, as it is, makes a picture."""
    needs("curl")
    port, log = free_port(), tmp_path / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "demo", "--port", str(port)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        line = printed(log, r"^curl .*$").group(0)
        wait_for(f"http://127.0.0.1:{port}/gateway/readyz", process, log)
        assert len(re.findall(r"token (cgw_\w+)", log.read_text())) == 2
        subprocess.run(line, shell=True, cwd=tmp_path, check=True, timeout=PATIENCE)
        assert (tmp_path / "picture.png").read_bytes()[:8] == PNG
    finally:
        stop(process)


def test_the_demo_shows_the_frontend_that_it_is_given(tmp_path: Path) -> None:
    """`comfy-gateway demo --front-end-root` shows that folder's page; a folder without one is refused."""
    (tmp_path / "index.html").write_text("an editor")
    port, log = free_port(), tmp_path / "demo.log"
    words = [sys.executable, "-m", "gateway", "demo", "--port", str(port), "--front-end-root"]
    with log.open("wb") as output:
        process = subprocess.Popen([*words, str(tmp_path)], stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/gateway/readyz", process, log)
        token = printed(log, r"token (cgw_\w+)").group(1)
        page = requests.get(f"http://127.0.0.1:{port}/", headers={"X-API-Key": token}, timeout=PATIENCE)
        assert (page.status_code, page.text) == (200, "an editor")
    finally:
        stop(process)
    (tmp_path / "index.html").unlink()
    refused = subprocess.run([*words, str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE)
    assert (refused.returncode, "index.html" in refused.stderr) == (2, True)


def test_wrong_settings_are_said_in_clear_lines(tmp_path: Path) -> None:
    """Every problem with the settings is one line on standard error, exit code 1; wrong usage is 2."""
    settings = tmp_path / "gateway.toml"
    settings.write_text('colour = "blue"\nport = "x"\n')
    words = [sys.executable, "-m", "gateway", "serve", "--config", str(settings), "--data-dir", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "colour" in done.stderr
    assert "port" in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--nonsense"], capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == 2
