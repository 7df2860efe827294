"""The graph that published guides teach, nodes 3 to 9: text to image. It does not know who submits it."""

from typing import Any


def text_to_image(*, seed: int, size: int = 64, prefix: str = "ComfyUI") -> dict[str, dict[str, Any]]:
    """A prompt for POST /prompt; `size` in pixels each way. It needs the checkpoint that it names."""
    wires = {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}
    choices = {"sampler_name": "euler", "scheduler": "normal", "denoise": 1, "cfg": 7, "steps": 8}
    return {
        "3": {"class_type": "KSampler", "inputs": {"seed": seed, **choices, **wires}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-pruned-emaonly.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": size, "height": size, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a door in a wall", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": prefix, "images": ["8", 0]}},
    }
