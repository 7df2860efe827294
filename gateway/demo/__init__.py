"""A simulated ComfyUI on real sockets, for trying the gateway, for its tests and for its benchmarks.

It knows what the recordings of two ComfyUI versions show, traps included, and must never know the gateway: nothing of
it is imported here, so that a misunderstanding of the protocol cannot hide in code both sides share.
"""
