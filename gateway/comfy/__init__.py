"""What ComfyUI speaks: addresses, prompts, job shapes and event frames, as pure functions of values.

It knows ComfyUI and nothing of us: no users, no store, no sockets, no clock, no randomness. Every fact in here was seen
on ComfyUI 0.3.64 and 0.28.1; what they sent is kept in `tests/recordings`.
"""
