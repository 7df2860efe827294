"""The programs of one run: started, waited for, and ended again, whatever happens. It does not know what they do."""

import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PATIENCE_SECONDS: Final = 30.0
GOODBYE_SECONDS: Final = 5.0
_LOOK_AGAIN_SECONDS: Final = 0.05
_LOG_TAIL: Final = 2000
# Debian keeps nginx where the path of an ordinary user does not lead.
_MORE_PLACES: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class BenchError(Exception):
    """The run cannot go on, or its figures would not mean what they seem to."""


class Crew:
    """`with Crew() as crew`: a temporary directory, and processes that end with the block, the youngest first."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_over = True
        try:
            for process in reversed(self._processes):
                _end(process)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, name: str, words: Sequence[str], *, ready: str, status: int = 200) -> None:
        """Start a program and wait until the address `ready` (http://host:port/path) answers with `status`.

        It gets a session of its own, so that Ctrl-C reaches this process only, which then ends the others in order.
        Raises BenchError with the end of its log.
        """
        log = self.directory / f"{name}.log"
        process = self._begin(name, words, log)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while _status(ready) != status:
            if process.poll() is not None:
                raise BenchError(f"{name} ended with {process.returncode}:\n{_tail(log)}")
            if time.monotonic() > deadline:
                raise BenchError(f"{name} was not ready within {PATIENCE_SECONDS:.0f} s:\n{_tail(log)}")
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _begin(self, name: str, words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Locked, because a thread may be about to start one more when the run is interrupted."""
        with self._lock:
            if self._is_over:
                raise BenchError(f"{name} is not started any more")
            with log.open("wb") as output:
                process = subprocess.Popen(
                    words,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=_environment(self.directory),
                    start_new_session=True,
                )
            self._processes.append(process)
            return process


def program(name: str) -> str | None:
    """Where an installed program is, None when it is not installed."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *_MORE_PLACES)))


def free_port() -> int:
    """A port of the loopback address that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(directory: Path) -> dict[str, str]:
    """Ours, without the settings of a gateway that somebody runs here, and with a home that is thrown away."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("GATEWAY_", "XDG_"))}
    return {**kept, "HOME": str(directory)}


def _status(url: str) -> int | None:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=2)
    try:
        connection.request("GET", f"/{path}")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_LOG_TAIL:]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(GOODBYE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
