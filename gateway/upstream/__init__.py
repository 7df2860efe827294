"""The ComfyUI servers as this process reaches them: one pool of HTTP connections with two faces, and one event socket.

It knows addresses, connections and time-outs. It must never know users, jobs or what a request means.
"""
