"""One PostgreSQL database as its address names it: how a connection to it is made. It does not know what for.

The address is PostgreSQL's own: `postgresql://user:password@host:5432/database`, with `?host=/run/postgresql` for a
socket, `?sslmode=verify-full`, several hosts, and what else `libpq` documents; `PGPASSWORD` and `~/.pgpass` count too.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Self

import asyncpg

from gateway.errors import StoreUnavailable

CONNECT_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 30
"""The server ends a statement that takes longer."""
ANSWER_SECONDS: Final = STATEMENT_SECONDS + 5
"""A little later we stop waiting for a server that is gone."""
LOCK_SECONDS: Final = 10
IDLE_SECONDS: Final = 30
"""In a transaction: what a gateway that hangs has locked is free again after that."""

_SETTINGS: Final = {
    "application_name": "comfyui-gateway",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
    # A gateway whose machine is gone: its locks are free after half a minute and not after two hours.
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # Compiling pays for long queries; here it made the first ones of a connection slow.
    "jit": "off",
}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """`dsn` may hold a password, so it is never shown. `patient`: statements may take as long as they want."""

    dsn: str = field(repr=False)
    patient: bool = False

    @classmethod
    def of(cls, url: str, *, patient: bool = False) -> Self:
        """The database of an address; SQLAlchemy's way to name the driver in it is known too."""
        return cls("postgresql://" + url.partition("://")[2], patient=patient)

    async def connect(self, **server_settings: str) -> Any:
        """A new connection, asyncpg's own. Raises StoreUnavailable."""
        limit = {} if self.patient else {"statement_timeout": f"{STATEMENT_SECONDS}s"}
        try:
            return await asyncpg.connect(
                self.dsn,
                timeout=CONNECT_SECONDS,
                command_timeout=None if self.patient else ANSWER_SECONDS,
                server_settings={**_SETTINGS, **limit, **server_settings},
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Without its cause: there the address is among the variables.
            reason = str(error).partition("\n")[0] or type(error).__name__
        except ValueError:
            reason = "its address cannot be read"
        raise StoreUnavailable(
            "The database cannot be reached.",
            sent=False,
            details="See that PostgreSQL runs, and that database_url names it, a database that is there, and a user "
            "who may log in to it.",
            reason=reason,
        )
