"""Tables of other tests, used once more here."""

from typing import Any


def table_of(test: Any) -> list[Any]:
    """The values that a test is parametrised with."""
    return list(test.pytestmark[0].args[1])
