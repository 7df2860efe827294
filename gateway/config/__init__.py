"""The settings: flags over `GATEWAY_*` over a TOML file over defaults, as one frozen value. It does not know who uses
them.
"""

from gateway.config.issuers import Admission, ClaimsAdmission, IdentityHeader, SignOn, TokenIssuer
from gateway.config.layers import FILE_NAME, ConfigError, load, origin_of
from gateway.config.settings import AddressRates, Events, Origin, Permission, Rates, Role, Settings, TokenRates

__all__ = [
    "FILE_NAME",
    "AddressRates",
    "Admission",
    "ClaimsAdmission",
    "ConfigError",
    "Events",
    "IdentityHeader",
    "Origin",
    "Permission",
    "Rates",
    "Role",
    "Settings",
    "SignOn",
    "TokenIssuer",
    "TokenRates",
    "load",
    "origin_of",
]
