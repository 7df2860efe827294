"""The one who asks, once a credential was found good. It does not know how that was proved, nor what may be done."""

from dataclasses import dataclass
from typing import Final, Literal

from gateway.identity.lineage import parent_token

Via = Literal["token", "password", "session", "jwt", "sso", "header", "network"]
"""`sso` is how a session was begun, and never a credential of a request."""
AMBIENT: Final = frozenset(("session", "header", "network"))
"""What comes along whoever has written the page that asks."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A known caller.

    `permissions` are what the role and the scopes of the credential have in common. `credential_id` is the id of the
    token, or the `jti` of the session or JWT; a password has none. `expires_at` is in seconds since 1970; None means
    never. `limits` are those that the user has instead of the role's, a JSON object as text.
    """

    user_id: int
    name: str
    role: str
    permissions: frozenset[str]
    via: Via
    credential_id: str | None
    expires_at: float | None
    limits: str = "{}"

    @property
    def is_cookie(self) -> bool:
        """Whether it is a session of a browser, which can be ended by logging out."""
        return self.via == "session"

    @property
    def is_ambient(self) -> bool:
        """Whether a browser sends the credential by itself, so that the request needs a same-origin proof."""
        return self.via in AMBIENT

    @property
    def token_id(self) -> str | None:
        """The API token that the caller came with, or that the session or JWT was got with; None for a password."""
        return self.credential_id if self.via == "token" else parent_token(self.credential_id)
