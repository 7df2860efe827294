"""Passwords, hashed with argon2id. It does not know whose they are.

Every function here computes for tens of milliseconds and gives way to other threads meanwhile: an event loop calls it
in a thread (`asyncio.to_thread`), never directly.
"""

from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

MAX_LENGTH: Final = 1024
"""In characters. Argon2 takes all of a long password (nothing is cut off, as bcrypt does at 72 bytes); this bounds
the work.
"""

_MEMORY_KIB: Final = 46 * 1024
_PASSES: Final = 1
"""The first of OWASP's recommended pairs for argon2id (2024): 46 MiB, one pass, one lane; 30-60 ms on one core of a
small server.
"""


class Passwords:
    """Hashes and checks passwords, always with the same effort, whether the user exists or not."""

    def __init__(self, *, memory_kib: int = _MEMORY_KIB, passes: int = _PASSES) -> None:
        """`memory_kib` and `passes` are what one hash costs; tests take less."""
        self._hasher: Final = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._nothing: Final = self._hasher.hash("the password of nobody")

    def hash(self, password: str) -> str:
        """The hash to store, with its parameters and a fresh salt in it.

        Raises:
            ValueError: the password is empty or longer than `MAX_LENGTH`; the message is fit to be shown.
        """
        if not password:
            raise ValueError("The password is empty.")
        if len(password) > MAX_LENGTH:
            raise ValueError(f"The password has more than {MAX_LENGTH} characters.")
        return self._hasher.hash(_bytes(password))

    def verify(self, password: str, stored: str) -> bool:
        """Whether `password` is the one behind `stored`; a damaged `stored` is nobody's."""
        if len(password) > MAX_LENGTH:
            return False
        try:
            return self._hasher.verify(stored, _bytes(password))
        except (VerificationError, ValueError):
            # ValueError: argon2's InvalidHashError, and a hash that is not even ASCII.
            return False

    def verify_nothing(self, password: str) -> None:
        """Spend the time of `verify` for a name that nobody has, so that names cannot be found by a stop-watch."""
        self.verify(password, self._nothing)

    def needs_rehash(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)


def _bytes(password: str) -> bytes:
    """Lone surrogates come in from JSON and forms; they are a password like any other, not an error."""
    return password.encode("utf-8", "surrogatepass")
