"""What we remember: users, tokens, sessions, servers, jobs, user data, in SQLite or PostgreSQL. The only room with
SQLAlchemy and alembic; it decides nothing.

Reading order of the ledger: `job` (the values), `ledger` (each method is one transaction), `reservation`, `moves`,
`shares`, `books`, `listings` (its statements); `transactions` says what carries them to the disk, `sqlite` with
`group_commit` and `postgresql` do it.
"""

from gateway.store.changes import Changes
from gateway.store.database import Store
from gateway.store.servers import Servers
from gateway.store.sessions import SessionRow, Sessions
from gateway.store.tokens import TokenRow, Tokens
from gateway.store.transactions import Transactions
from gateway.store.users import User, Users

__all__ = [
    "Changes",
    "Servers",
    "SessionRow",
    "Sessions",
    "Store",
    "TokenRow",
    "Tokens",
    "Transactions",
    "User",
    "Users",
]
