"""A real PostgreSQL server for the tests: in a directory of its own, on a socket in it, and gone with the test run.

Its databases sort as people do (ICU, English), which SQLite does not: a test that passes on both does not depend on it.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psutil

from tests.needs import needs

USER = "gateway"
PASSWORD = "p%ss/w@rd:6Zk2hQ9w"
"""With what must be encoded in an address."""
SHARED = "shared"
_PATIENCE = 60.0
_OPTIONS = ("fsync=off", "full_page_writes=off", "listen_addresses=", "shared_buffers=32MB", "timezone=Asia/Tokyo")


class Postgres:
    """The server, running; made by `running`."""

    def __init__(self, place: Path) -> None:
        self._place, self._numbers = place, count()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, *, password: str = PASSWORD) -> str:
        """The address of one of its databases."""
        return f"postgresql://{USER}:{quote(password, safe='')}@/{database}?host={self._place}"

    def make(self) -> str:
        """The address of a new database, in which nothing is."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.sql(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        """What `psql` prints of a statement."""
        start = [needs("psql"), "-XAtq", "-h", str(self._place), "-U", USER, "-d", database, "-c", statement]
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        ran = subprocess.run(start, env=environment, capture_output=True, text=True, check=False, timeout=_PATIENCE)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def start(self) -> None:
        """Run it, and wait until it answers. Not from a thread that ends before the server shall."""
        settings = [f"unix_socket_directories={self._place}", *_OPTIONS]
        options = [word for setting in settings for word in ("-c", setting)]
        with (self._place / "log").open("ab") as log:
            start = [*_as_nobody(), needs("postgres"), "-D", str(self._place / "data"), *options]
            self._process = subprocess.Popen(start, stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + _PATIENCE
        ready = [needs("pg_isready"), "-q", "-h", str(self._place)]
        while subprocess.run(ready, check=False, timeout=_PATIENCE).returncode != 0:
            assert self._process.poll() is None and time.monotonic() < deadline, (self._place / "log").read_text()
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it; by default at once, as a crash does."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(_PATIENCE)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """No backend answers, and no connection breaks: a machine that hangs."""
        assert self._process is not None
        mother = psutil.Process(self._process.pid)
        processes = [mother, *mother.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()


def _name(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


@contextmanager
def running() -> Iterator[Postgres]:
    """A new server with no databases of ours."""
    needs("postgres")
    place = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        _initialize(place)
        server = Postgres(place)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _initialize(place: Path) -> None:
    secret = place / "password"
    secret.write_text(PASSWORD)
    if os.getuid() == 0:
        for path in (place, secret):
            os.chown(path, _nobody().pw_uid, _nobody().pw_gid)
    locale = ["--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]
    who = [f"--username={USER}", f"--pwfile={secret}", "--auth=password"]
    start = [*_as_nobody(), needs("initdb"), "--no-sync", *locale, *who, "-D", str(place / "data")]
    ran = subprocess.run(start, capture_output=True, text=True, check=False, timeout=_PATIENCE, cwd="/")
    assert ran.returncode == 0, ran.stderr


def _nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to be run by root; and it must not outlive the tests."""
    words = [needs("setpriv"), "--pdeathsig", "INT"]
    if os.getuid() == 0:
        words += [f"--reuid={_nobody().pw_uid}", f"--regid={_nobody().pw_gid}", "--clear-groups"]
    return words
