"""Pages for people: login, logout, who am I. It does not know ComfyUI, nor how a credential is proved."""

from gateway.web.pages import PUBLIC, router

__all__ = ["PUBLIC", "router"]
