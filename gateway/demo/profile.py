"""What differs between the two ComfyUI versions that are simulated, as data.

It does not know how any of it is carried out; a third version is one more entry of PROFILES.
"""

import platform
from dataclasses import dataclass, field
from typing import Any

# Recorded on 0.28.1 started with --disable-api-nodes, as the recordings were; that flag adds it to every answer.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self' data:; frame-src 'self'; object-src 'self';"
)

MODEL_FOLDERS_OF_0_3_64 = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
    "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "custom_nodes", "hypernetworks",
    "photomaker", "classifiers", "model_patches", "audio_encoders",
)  # fmt: skip

MODEL_FOLDERS_OF_0_28_1 = (
    *MODEL_FOLDERS_OF_0_3_64[:14], "latent_upscale_models", *MODEL_FOLDERS_OF_0_3_64[14:], "background_removal",
    "frame_interpolation", "geometry_estimation", "optical_flow", "detection",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One version of ComfyUI.

    `jobs_api` stands for everything that came with it: /api/jobs*, create_time, canonical prompt ids, secrets kept out
    of /queue, subgraphs and node replacements. `guarded` stands for the path, content-type and Sec-Fetch-Site checks.
    """

    version: str
    jobs_api: bool
    guarded: bool
    csp: str | None
    features: dict[str, Any]
    model_folders: tuple[str, ...]
    system: dict[str, Any]
    source_lines: dict[str, int] = field(default_factory=dict)

    @property
    def milliseconds(self) -> bool:
        """Whether /userdata reports times as whole milliseconds (new) or as fractional seconds (old)."""
        return self.guarded


def _features(**newer: Any) -> dict[str, Any]:
    return {"supports_preview_metadata": True, **newer, "max_upload_size": 104857600}


_MEMORY = 25276510208
_PYTHON = platform.python_version()
_NEWER_PACKAGES = [
    {"name": "comfyui-frontend-package", "installed": "1.45.21", "required": "1.45.21"},
    {"name": "comfyui-workflow-templates", "installed": "0.11.11", "required": "0.11.11"},
    {"name": "comfyui-embedded-docs", "installed": "0.5.8", "required": "0.5.8"},
    {"name": "comfy-kitchen", "installed": "0.2.20", "required": "0.2.20"},
    {"name": "comfy-aimdo", "installed": "0.4.10", "required": "0.4.10"},
]

PROFILES: dict[str, Profile] = {
    "0.3.64": Profile(
        version="0.3.64",
        jobs_api=False,
        guarded=False,
        csp=None,
        features=_features(),
        model_folders=MODEL_FOLDERS_OF_0_3_64,
        system={
            "os": "posix",
            "ram_total": _MEMORY,
            "ram_free": _MEMORY,
            "comfyui_version": "0.3.64",
            "required_frontend_version": "1.27.10",
            "installed_templates_version": "0.1.95",
            "required_templates_version": "0.1.95",
            "python_version": _PYTHON,
            "pytorch_version": "none",
            "embedded_python": False,
        },
        source_lines={"execute": 496, "get_output_data": 315, "_async_map_node_over_list": 289, "process_inputs": 277},
    ),
    "0.28.1": Profile(
        version="0.28.1",
        jobs_api=True,
        guarded=True,
        csp=CONTENT_SECURITY_POLICY,
        features={
            **_features(supports_model_type_tags=True),
            "extension": {"manager": {"supports_v4": True}},
            "node_replacements": True,
            "assets": False,
        },
        model_folders=MODEL_FOLDERS_OF_0_28_1,
        system={
            "os": "linux",
            "ram_total": _MEMORY,
            "ram_free": _MEMORY,
            "comfyui_version": "0.28.1",
            "required_frontend_version": "1.45.21",
            "installed_templates_version": "0.11.11",
            "required_templates_version": "0.11.11",
            "comfy_package_versions": _NEWER_PACKAGES,
            "python_version": _PYTHON,
            "pytorch_version": "none",
            "embedded_python": False,
            "deploy_environment": "local-git",
        },
        source_lines={"execute": 543, "get_output_data": 342, "_async_map_node_over_list": 316, "process_inputs": 304},
    ),
}
