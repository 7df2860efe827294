"""The settings: flags over `GATEWAY_*` over a TOML file over defaults, as one frozen value. It does not know who uses
them.
"""

from gateway.config.layers import FILE_NAME, ConfigError, load, origin_of
from gateway.config.settings import Events, Origin, Permission, Role, Settings

__all__ = ["FILE_NAME", "ConfigError", "Events", "Origin", "Permission", "Role", "Settings", "load", "origin_of"]
