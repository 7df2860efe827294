"""What `check` says of other people's logins: issuers of tokens, single sign-on, a proxy's header, listed networks.

It does not know who comes in by them.
"""

import ipaddress
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Final

from gateway.cli.findings import Finding, fail, ok, warn
from gateway.cli.place import opened
from gateway.config import ClaimsAdmission, Settings, SignOn
from gateway.edge.issuer_source import WELL_KNOWN
from gateway.errors import IssuerUnavailable, StoreUnavailable
from gateway.identity.issuer_keys import UnusableKeysError, read_keys
from gateway.identity.relying_party import Metadata, UnusableMetadataError, read_metadata
from gateway.upstream.issuer_calls import Answer, IssuerCalls

SKEW_SECONDS: Final = 5.0
_WIDE: Final = {4: 16, 6: 48}


async def issuers(settings: Settings, *, now: Callable[[], float]) -> list[Finding]:
    """Everything about them. `now` is in seconds since 1970."""
    found: list[Finding] = []
    for rules in settings.issuers:
        found += await _issuer("issuer", rules, now=now)
    for name, provider in settings.sso.items():
        found += await _issuer(f"sso.{name}", provider, now=now)
    return [*found, *_header(settings), *await _networks(settings)]


async def _issuer(subject: str, rules: ClaimsAdmission, *, now: Callable[[], float]) -> list[Finding]:
    calls, found, metadata = IssuerCalls(), list[Finding](), None
    if isinstance(rules, SignOn) or rules.jwks_url is None:
        try:
            answer = await _asked(calls, rules.issuer.rstrip("/") + WELL_KNOWN)
            metadata = read_metadata(answer.document, issuer=rules.issuer)
        except (IssuerUnavailable, UnusableMetadataError) as error:
            words = f"{rules.issuer}: {getattr(error, 'reason', None) or error}"
            remedy = "Correct the issuer: it is written exactly as it names itself. The gateway has to reach it."
            return [fail(subject, words, remedy)]
        found += [*_clock(subject, answer, now()), *_login(subject, rules, metadata)]
    url = rules.jwks_url or (metadata.keys if metadata is not None else "")
    try:
        answer = await _asked(calls, url)
        keys = read_keys(answer.document, algorithms=rules.algorithms)
    except (IssuerUnavailable, UnusableKeysError) as error:
        remedy = "Until there are keys nobody comes in that way. See whether algorithms has what the issuer signs with."
        return [*found, fail(subject, f"{url}: {getattr(error, 'reason', None) or error}", remedy)]
    names = sorted({f"{algorithm}" for _, algorithm in keys.by_name})
    return [*found, ok(subject, f"{rules.issuer}: {len(keys.by_name)} keys for {', '.join(names)}")]


async def _asked(calls: IssuerCalls, url: str) -> Answer:
    answer = await calls.ask("GET", url)
    if answer.status != 200:
        raise IssuerUnavailable(f"{url}: status {answer.status}")
    return answer


def _clock(subject: str, answer: Answer, now: float) -> Iterator[Finding]:
    """What is signed a moment ago must not come from the future."""
    try:
        there = parsedate_to_datetime(answer.date or "").timestamp()
    except ValueError:
        return
    ahead = there - now
    if abs(ahead) > SKEW_SECONDS:
        words = f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"
        yield warn(subject, words, "Set the clocks by NTP, both; leeway_seconds allows for a clock that is ahead.")


def _login(subject: str, rules: ClaimsAdmission, metadata: Metadata) -> Iterator[Finding]:
    if not isinstance(rules, SignOn):
        return
    if metadata.authorization is None or metadata.token is None:
        yield fail(
            subject, "nobody can log in there: it names no authorization and token endpoints", "Ask who runs it."
        )
    if metadata.challenges and "S256" not in metadata.challenges:
        yield warn(subject, "it does not say that it knows PKCE with S256", "Switch it on there for this client.")


def _header(settings: Settings) -> Iterator[Finding]:
    header = settings.identity_header
    if header is None:
        return
    for text in header.proxies:
        network = ipaddress.ip_network(text)
        if network.prefixlen < _WIDE[network.version] and not network.is_loopback:
            words = f"{text} is wide: whoever is in it can be anybody"
            yield warn("header", words, "List the addresses of the proxies in identity_header.from, and no others.")
    yield ok("header", f"{header.user} is believed from {', '.join(header.proxies)}")


async def _networks(settings: Settings) -> list[Finding]:
    if not settings.networks:
        return []
    try:
        async with opened(settings) as store:
            users = {name: await store.users.by_name(name) for name in settings.networks.values()}
    except StoreUnavailable:
        return []  # The database has findings of its own.
    found = []
    for network, name in settings.networks.items():
        if users[name] is None:
            found.append(
                fail("networks", f"{network} is {name}, whom nobody is", f"Run: comfy-gateway user add {name}")
            )
        else:
            found.append(ok("networks", f"whoever asks from {network} is {name}"))
    return found
