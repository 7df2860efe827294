"""Which nodes and models a role may use."""

from gateway.comfy.node_class import describe
from gateway.config import Role
from gateway.policy.nodes import node_policy

SAVE = describe({"name": "SaveImage", "python_module": "nodes"})
PACK = describe({"name": "Fancy", "python_module": "custom_nodes.fancy-pack"})
FOLDERS = describe({"name": "LoadTrainingDataset", "python_module": "comfy_extras.nodes_dataset"})


def role(**more: object) -> Role:
    return Role.model_validate({"permissions": ["read", "submit"], **more})


def allowed(role_: Role, *permissions: str) -> list[str]:
    policy = node_policy(role_, permissions)
    return [class_.name for class_ in (SAVE, PACK, FOLDERS) if not policy.refusal(class_)]


def test_the_defaults() -> None:
    """Without settings a role may use ComfyUI's own classes but for those that work on whole folders, and any model."""
    assert allowed(role(), "read", "submit") == ["SaveImage"]
    assert node_policy(role(), ()).permits_model("loras", "a/b.safetensors")


def test_the_settings() -> None:
    """A pack is trusted by name, a class opened or denied by pattern, models by folder and name."""
    nodes = {"trusted_packs": ["fancy-*"], "allow": ["LoadTraining*"], "deny": ["Save*"]}
    models = {"allow": ["loras/*"], "deny": ["loras/private/*"]}
    chosen = role(nodes=nodes, models=models)
    assert allowed(chosen, "read", "submit") == ["Fancy", "LoadTrainingDataset"]
    names = ("loras", "a.pt"), ("loras", "private/a.pt"), ("vae", "a.pt")
    assert [node_policy(chosen, ()).permits_model(*name) for name in names] == [True, False, False]


def test_administrators() -> None:
    """Everything is for who has the permission `admin` by role and credential, not for a token with fewer scopes."""
    admin = role(permissions=["read", "submit", "admin"])
    assert allowed(admin, "read", "submit", "admin") == ["SaveImage", "Fancy", "LoadTrainingDataset"]
    assert allowed(admin, "read", "submit") == ["SaveImage"]
