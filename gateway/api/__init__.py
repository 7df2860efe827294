"""The JSON control plane under `/gateway`: health, tokens, who am I, files, the queue, usage, its own documentation.

It does not know ComfyUI, nor how a credential is proved.
"""

from gateway.api.application import control
from gateway.api.files import files_router
from gateway.api.queue import queue_router
from gateway.api.routes import PUBLIC, router
from gateway.api.usage import usage_router

__all__ = ["PUBLIC", "control", "files_router", "queue_router", "router", "usage_router"]
