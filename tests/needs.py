"""What a test needs from the machine beside Python, and what happens where it is missing."""

import os
import shutil
from pathlib import Path

import pytest

_SKIPS_NOTHING = os.environ.get("TESTS_SKIP_NOTHING") == "1"
_DEBIANS = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
_SERVERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", *_DEBIANS)
_EVERYWHERE = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SERVERS))


def needs(program: str) -> str:
    """The path of an installed program; without it the test is skipped and says so.

    With TESTS_SKIP_NOTHING=1 it fails instead: continuous integration installs everything and must not pass
    because something is missing. An ordinary user's PATH often lacks the folders where Debian puts servers.
    """
    path = shutil.which(program, path=_EVERYWHERE)
    if path is not None:
        return path
    if _SKIPS_NOTHING:
        pytest.fail(f"{program} is not installed")
    pytest.skip(f"{program} is not installed")
