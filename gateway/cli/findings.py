"""What `check` found out about one thing: whether it is well, and what to do if not. It does not know how to look."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `remedy` is what to do; empty where all is well."""

    level: Level
    subject: str
    words: str
    remedy: str = ""


def ok(subject: str, words: str) -> Finding:
    """All is well."""
    return Finding("ok", subject, words)


def warn(subject: str, words: str, remedy: str) -> Finding:
    """It works, and should be otherwise."""
    return Finding("warn", subject, words, remedy)


def fail(subject: str, words: str, remedy: str) -> Finding:
    """It does not work, or protects nobody."""
    return Finding("fail", subject, words, remedy)
