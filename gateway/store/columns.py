"""The types of columns whose meaning must be the same on every database. It does not know which columns there are.

SQLite's declarations are the plain ones. On PostgreSQL an INTEGER ends at 2^31, which milliseconds and bytes are
beyond; texts are ordered by the database's language, but paths are looked for as ranges and names compared in lower
case, so they are ordered by their bytes ("C"), as in SQLite; and no length is enforced, as in SQLite.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Dialect, Integer, String, Text, TypeDecorator
from sqlalchemy.types import TypeEngine


class _Bytewise(TypeDecorator[str]):
    """PostgreSQL has no NUL in a text and calls it an error of the statement. Whoever asks for a name with one asks for
    what is not there, so another character that means nothing stands for it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> Any:
        """The text as PostgreSQL takes it."""
        return value.replace("\0", "\ufffd") if value is not None and "\0" in value else value


WHOLE: Final[TypeEngine[int]] = Integer().with_variant(BigInteger(), "postgresql")
"""A whole number of 64 bits."""
TEXT: Final[TypeEngine[str]] = Text().with_variant(_Bytewise(collation="C"), "postgresql")


def short_text(length: int) -> TypeEngine[str]:
    """A text of that many characters, which is a comment: no database here enforces it."""
    return String(length).with_variant(_Bytewise(collation="C"), "postgresql")
