"""All configured issuers, of tokens and of logins, as they are fetched and kept in this process. It does not know how
they are asked.
"""

from collections.abc import Callable, Mapping
from typing import Final

from gateway.config import Settings
from gateway.edge.issuer_source import GetJson, IssuerSource


class Sources:
    """`issuers` of tokens by the name that they give themselves, each with its audiences; `providers` of logins by the
    name that the settings give them. `ticks` gives seconds that only go forward."""

    def __init__(self, settings: Settings, *, get_json: GetJson, ticks: Callable[[], float]) -> None:
        self.issuers: Final[Mapping[str, tuple[IssuerSource, tuple[str, ...]]]] = {
            rules.issuer: (IssuerSource(rules, get_json=get_json, ticks=ticks), rules.audience)
            for rules in settings.issuers
        }
        self.providers: Final[Mapping[str, IssuerSource]] = {
            name: IssuerSource(rules, get_json=get_json, ticks=ticks) for name, rules in settings.sso.items()
        }
