"""What every request passes through: the HTTP guards, request ids and error answers, authentication, counting.

It does not know ComfyUI's routes, what a request wants, or what becomes of it.
"""
