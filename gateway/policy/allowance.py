"""How much a user may keep on the server and bring there, as values.

It does not know how much there is.
"""

from dataclasses import dataclass
from typing import Final

from gateway.config import Role

MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Allowance:
    """In bytes. `kept` counts where ComfyUI's data directory is mounted, `per_day` where it is not; `uploads` is a
    number of files."""

    kept: int
    per_day: int
    uploads: int


def allowance(role: Role) -> Allowance:
    """What the settings give to a role."""
    return Allowance(role.storage_mb * MEBIBYTE, role.upload_mb_per_day * MEBIBYTE, role.max_uploads)
