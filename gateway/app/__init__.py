"""Assembly: the only room that knows everyone. It makes the parts, hands each what it needs, and starts and stops them
in order.
"""

from gateway.app.doors import Doors
from gateway.app.gateway import Gateway, first_start

__all__ = ["Doors", "Gateway", "first_start"]
