"""Whether somebody for whom another vouches may come in, and as what. It does not know whether that is true, nor who it
is here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config import Admission, ClaimsAdmission
from gateway.config.issuer_checks import EVERYBODY
from gateway.errors import NotAdmitted
from gateway.identity.vouched import Vouched


@dataclass(frozen=True, slots=True)
class Admitted:
    """What somebody is here. `role` is set each time, None leaves it to administrators; `first_role` is a new user's.
    `create`: whoever is no user becomes one."""

    role: str | None
    first_role: str
    groups: tuple[str, ...]
    create: bool


def admit(vouched: Vouched, rules: Admission) -> Admitted:
    """What the rules make of them. Raises NotAdmitted."""
    if isinstance(rules, ClaimsAdmission):
        _require_domain(vouched, rules)
    if rules.allowed_groups and not set(rules.allowed_groups) & set(vouched.groups):
        raise NotAdmitted(f"{vouched.subject} of {vouched.issuer} is in none of the allowed groups")
    role = _role(vouched.groups, rules.roles) or rules.default_role
    return Admitted(role if rules.roles else None, role, vouched.groups, rules.create_users)


def _role(groups: tuple[str, ...], roles: Mapping[str, str]) -> str | None:
    """That of the first group of the table that they are in, to the letter."""
    return next((role for group, role in roles.items() if group in groups), None)


def _require_domain(vouched: Vouched, rules: ClaimsAdmission) -> None:
    """The domain of a verified address, whole: an address with two “@” has none, and a subdomain is another one."""
    if not rules.allowed_domains or EVERYBODY in rules.allowed_domains:
        return
    name, at, domain = (vouched.email or "").partition("@")
    if not (name and at and domain.lower() in rules.allowed_domains):
        raise NotAdmitted(f"{vouched.subject} of {vouched.issuer} has no verified address in an allowed domain")
