"""Pages for people: login, logout, who am I. It does not know ComfyUI, nor how a credential is proved."""

from gateway.web.pages import PUBLIC, router
from gateway.web.sign_on import public, sign_on_router

__all__ = ["PUBLIC", "public", "router", "sign_on_router"]
