"""Which inputs of which node classes name files, as a table: what is read, what is written, which models are loaded.

It does not know a workflow or a user. Read from the source of ComfyUI 0.3.64 and 0.28.1, its API nodes included; a test
walks what both versions say of their nodes. An input `a.b` is the key `b` of the object in the input `a`, or the input
of that name itself, which is how a workflow writes what belongs to one choice of a dynamic input.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.comfy.files import FileType
from gateway.comfy.prefix import Place


@dataclass(frozen=True, slots=True)
class Read:
    """An input that names one file. `default` is the folder that a name without a suffix means; `bare` the one that
    ComfyUI takes for it, so that what we write has a suffix unless it is that. `wired`: may come from another node,
    because the server only shows the name and opens nothing. `words` are values that name no file; "" never does."""

    default: FileType = "input"
    bare: FileType = "input"
    wired: bool = False
    words: frozenset[str] = frozenset()


_READ: Final = Read()
_MODEL_3D: Final = Read(words=frozenset({"none"}))
_SHOWN: Final = Read(default="output", bare="output", wired=True)
# The picture names arrive in one object; Load3D opens them all.
_SCENE: Final = {f"image.{key}": _READ for key in ("image", "mask", "normal", "lineart", "recording")}

READS: Final[Mapping[str, Mapping[str, Read]]] = {
    "LoadImage": {"image": _READ},
    "LoadImageMask": {"image": _READ},
    # Its list shows the output folder, but a name without a suffix is looked up in the input folder by both versions.
    "LoadImageOutput": {"image": Read(default="output")},
    "LoadLatent": {"latent": _READ},
    "LoadAudio": {"audio": _READ},
    "RecordAudio": {"audio": _READ},
    "LoadVideo": {"file": _READ},
    "WebcamCapture": {"image": _READ},
    "Painter": {"mask": _READ},
    "Load3D": {"model_file": _MODEL_3D, **_SCENE},
    "Load3DAnimation": {"model_file": _MODEL_3D, **_SCENE},
    "Load3DAdvanced": {"model_file": _MODEL_3D},
    "Preview3D": {"model_file": _SHOWN},
    "Preview3DAnimation": {"model_file": _SHOWN},
    "GeminiInputFiles": {"file": _READ},
    "OpenAIInputFiles": {"file": _READ},
}

# fmt: off
_PREFIXED: Final = (
    "SaveImage", "SaveImageAdvanced", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveSVGNode", "SaveWEBM",
    "SaveVideo", "SaveText", "SaveLatent", "SaveAudio", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced",
    "SaveGLB", "Save3DAdvanced", "SaveGaussianSplat", "SavePointCloud", "CheckpointSave", "CLIPSave",
    "VAESave", "ModelSave", "ImageOnlyCheckpointSave", "LoraSave",
)
# fmt: on

WRITES: Final[Mapping[str, Mapping[str, Place]]] = {
    **{name: {"filename_prefix": Place.PREFIX} for name in _PREFIXED},
    "SaveLoRA": {"prefix": Place.PREFIX},
    "SaveLoRANode": {"prefix": Place.PREFIX},
    # 0.3.64 joins it to the temp folder as it is, without a check and without making subfolders.
    "LossGraphNode": {"filename_prefix": Place.NAME},
    # These join their names to the input or output folder unchecked. Denied until allowed, and then confined too.
    "SaveImageDataSetToFolder": {"folder_name": Place.FOLDER, "filename_prefix": Place.NAME},
    "SaveImageTextDataSetToFolder": {"folder_name": Place.FOLDER, "filename_prefix": Place.NAME},
    "SaveTrainingDataset": {"folder_name": Place.FOLDER},
    "LoadTrainingDataset": {"folder_name": Place.FOLDER},
    "LoadImageDataSetFromFolder": {"folder": Place.FOLDER},
    "LoadImageTextDataSetFromFolder": {"folder": Place.FOLDER},
    "LoadImageSetFromFolderNode": {"folder": Place.FOLDER},
    "LoadImageTextSetFromFolderNode": {"folder": Place.FOLDER},
}

PREFIX_NAME: Final = "filename_prefix"
"""In a class that the table lacks, an input of this name is a prefix: every pack takes the word over from ComfyUI."""

DENIED: Final = frozenset(name for name, places in WRITES.items() if Place.FOLDER in places.values())
"""Classes of ComfyUI that read or write whole folders."""

NOT_FILES: Final = frozenset(
    {
        ("AddTextPrefix", "prefix"),
        # Only the camera is taken out of these scenes.
        ("Load3DAdvanced", "viewport_state"),
        ("Preview3DAdvanced", "viewport_state"),
        ("PreviewGaussianSplat", "viewport_state"),
        ("PreviewPointCloud", "viewport_state"),
        ("Save3DAdvanced", "viewport_state"),
        ("SaveGaussianSplat", "viewport_state"),
        ("SavePointCloud", "viewport_state"),
    }
)
"""Inputs that look as if they named files, and do not."""

# fmt: off
SUSPECT_NAMES: Final = frozenset((
    "filename", "filename_prefix", "file_name", "file", "filepath", "file_path", "path", "prefix", "folder",
    "folder_name", "folder_path", "directory", "dir", "output_dir", "input_dir", "subfolder",
))
# fmt: on
SUSPECT_TYPES: Final = frozenset({"WEBCAM", "AUDIO_RECORD", "LOAD_3D", "LOAD_3D_ANIMATION"})
"""A class of ComfyUI that is newer than this table and has such an input is denied until an administrator allows it."""

PACK_READS: Final[Mapping[str, Mapping[str, Read]]] = {
    "VHS_LoadVideo": {"video": _READ},
    "VHS_LoadVideoFFmpeg": {"video": _READ},
    "VHS_LoadAudioUpload": {"audio": _READ},
}
"""Classes of custom packs whose pickers list input files without saying so in object_info."""
PACK_WRITES: Final[Mapping[str, Mapping[str, Place]]] = {"VHS_LoadImages": {"directory": Place.FOLDER}}

MODELS: Final[Mapping[str, str]] = {
    "ckpt_name": "checkpoints",
    "config_name": "configs",
    "lora_name": "loras",
    "existing_lora": "loras",
    "vae_name": "vae",
    "control_net_name": "controlnet",
    "t2i_adapter_name": "controlnet",
    "unet_name": "diffusion_models",
    **{f"clip_name{number}": "text_encoders" for number in ("", 1, 2, 3, 4)},
    "text_encoder": "text_encoders",
    "style_model_name": "style_models",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetworks",
    "audio_encoder_name": "audio_encoders",
    "photomaker_model_name": "photomaker",
    "bg_removal_name": "background_removal",
}
"""Input names that mean a model, and the model folder, in any class."""
CLASS_MODELS: Final[Mapping[str, Mapping[str, str]]] = {
    "CLIPVisionLoader": {"clip_name": "clip_vision"},
    "DiffusersLoader": {"model_path": "diffusers"},
    "UpscaleModelLoader": {"model_name": "upscale_models"},
    "LatentUpscaleModelLoader": {"model_name": "latent_upscale_models"},
    "FrameInterpolationModelLoader": {"model_name": "frame_interpolation"},
    "ModelPatchLoader": {"name": "model_patches"},
    "LoadDA3Model": {"model_name": "geometry_estimation"},
    "LoadMoGeModel": {"model_name": "geometry_estimation"},
    "LoadMediaPipeFaceLandmarker": {"model_name": "detection"},
    "OpticalFlowLoader": {"model_name": "optical_flow"},
}

# fmt: off
WEIGHTS: Final = frozenset((
    "MODEL", "CLIP", "VAE", "CONTROL_NET", "CLIP_VISION", "STYLE_MODEL", "UPSCALE_MODEL",
    "LATENT_UPSCALE_MODEL", "GLIGEN", "PHOTOMAKER", "AUDIO_ENCODER", "MODEL_PATCH", "LORA_MODEL", "MOGE_MODEL",
    "DA3_MODEL", "INTERP_MODEL", "BACKGROUND_REMOVAL", "FACE_DETECTION_MODEL", "OPTICAL_FLOW",
))
# fmt: on
"""Output types that are weights: a node that gives them out costs minutes when it runs again."""

TAKES_ANYTHING: Final = frozenset({"CustomCombo"})
"""Classes of ComfyUI that are handed inputs they did not declare. Of V1 classes there is none in either version: all
their INPUT_TYPES are plain dicts. V3 classes must say `accept_all_inputs`, which one does."""

REPLACED: Final = frozenset(
    {"ConditioningAverage ", "ImageBatch", "ImageScaleBy", "Load3DAnimation", "Preview3DAnimation"}
    | {"ResizeImagesByLongerEdge", "SDV_img2vid_Conditioning", "T2IAdapterLoader"}
)
"""Classes that a newer ComfyUI lacks and turns into others itself. Any other missing class may not pass: a pack can
register a replacement that turns a class of any name, with inputs of any name, into LoadImage."""
