"""Which nodes and models a role may use, from the settings.

It does not know a workflow, nor what a server has.
"""

from collections.abc import Collection

from gateway.comfy.graph_policy import Policy
from gateway.config import Role


def node_policy(role: Role, permissions: Collection[str]) -> Policy:
    """The policy of a caller. Only who has the permission `admin` by role and credential may use everything: a token
    with fewer scopes is held to the role's own lists."""
    return Policy(
        everything="admin" in permissions,
        denied=role.nodes.deny,
        allowed=role.nodes.allow,
        trusted_packs=role.nodes.trusted_packs,
        models_allowed=role.models.allow,
        models_denied=role.models.deny,
    )
