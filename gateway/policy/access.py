"""May this caller make this call: permissions of roles and credentials against the table of routes.

It does not know who the caller's jobs and files are, only what kind of call it is.
"""

from gateway.comfy.table import Becomes, Call
from gateway.config import Role
from gateway.errors import Forbidden, RouteNotAllowed
from gateway.identity.principal import Principal


def permissions(role: Role | None, scopes: frozenset[str] | None) -> frozenset[str]:
    """What a credential may do: the role's permissions that are also among its scopes; `None` scopes limit nothing.

    A role that the settings no longer have permits nothing: a user must not gain by an operator's typing error.
    """
    if role is None:
        return frozenset()
    granted = frozenset[str](role.permissions)
    return granted if scopes is None else granted & scopes


def decide(principal: Principal, call: Call) -> None:
    """Returns if the principal may make the call; raises RouteNotAllowed or Forbidden if not."""
    if call.row.becomes is Becomes.DENY:
        raise RouteNotAllowed("The gateway keeps this address of ComfyUI closed for everybody.")
    if call.row.becomes is Becomes.ADMIN:
        require(principal, "admin")
    require(principal, call.row.needs)


def require(principal: Principal, permission: str) -> None:
    """Returns if the principal has the permission (`read`, `submit` or `admin`); raises Forbidden, which names it, if
    not.
    """
    if permission in principal.permissions:
        return
    raise Forbidden(
        f"This needs the permission “{permission}”, which your role or your token does not have.",
        details="Use a token with that scope, or ask an administrator for a role that has it.",
        extra_info={"permission": permission},
        reason=f"{principal.name} ({principal.role}, {principal.via}) has only {sorted(principal.permissions)}",
    )
