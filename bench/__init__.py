"""Direct, nginx, Caddy and the gateway side by side: `python -m bench`.

It knows how each is started and measured, on loopback and in a temporary directory, and nothing of how the gateway
works inside: that runs as an operator runs it, in its own process.
"""
