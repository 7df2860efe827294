"""The benchmark as `make bench` runs it, in its own process. How fast anything is, is not asserted."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.crew import program

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 90.0


def bench(*words: str) -> subprocess.Popen[str]:
    """As from a terminal: whoever runs the tests in the background hands down an ignored SIGINT."""
    command = [sys.executable, "-m", "bench", "--quick", *words]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_hear_interrupts
    )


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def words_of(process: psutil.Process) -> list[str]:
    """Its command line, nothing when it has just ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def gateway_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Everything that the run started, once the gateway is among it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        if any("serve" in words_of(child) for child in children):
            return children
        time.sleep(0.02)
    pytest.fail(f"the gateway was not started: {process.communicate()}")


def test_a_quick_run_prints_a_table() -> None:
    """A run ends well and prints each row, or a line that says why it was left out."""
    printed, said = bench().communicate(timeout=PATIENCE)
    assert "| POST /prompt, long queue, 8 clients |" in printed, said
    assert "| an event to its client, p99 |" in printed
    assert "| rate limits, CPU of a request |" in printed
    has_gets = all(program(name) for name in ("wrk", "nginx"))
    assert ("| small GET, gateway / nginx |" in printed) == has_gets
    assert ("| 2 MB GET, gateway / Caddy |" in printed) == (has_gets and program("caddy") is not None)
    assert ("Left out:" in printed) != all(program(name) for name in ("wrk", "nginx", "caddy"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_behind(number: signal.Signals) -> None:
    """Ctrl-C, or a termination, ends every program that the run started."""
    process = bench("--only", "prompts")
    children = gateway_of(process)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []
