"""ComfyUI Gateway: gives every user what looks like a private ComfyUI, in front of one that is not."""

__version__ = "0.1.0"
