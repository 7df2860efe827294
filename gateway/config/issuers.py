"""The settings about people whom somebody else knows: issuers of tokens, single sign-on, a proxy that names them. They
do not know who these people are here.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from gateway.config import checks, issuer_checks

RoleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Text = Annotated[str, Field(min_length=1, max_length=256)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(checks.separated)]
Domains = Annotated[tuple[Annotated[str, AfterValidator(issuer_checks.domain)], ...], BeforeValidator(checks.separated)]
Algorithms = Annotated[
    tuple[Annotated[str, AfterValidator(issuer_checks.algorithm)], ...],
    BeforeValidator(checks.separated),
    Field(min_length=1),
]
Issuer = Annotated[str, AfterValidator(issuer_checks.issuer)]
Address = Annotated[str, AfterValidator(issuer_checks.address)]
HeaderName = Annotated[str, AfterValidator(issuer_checks.header)]
ProviderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
"""It is part of an address, and of the name of an environment variable."""


class Admission(BaseModel):
    """Who of those that somebody else knows may come in, and as what.

    `allowed_groups`: at least one of these, where any are listed. `roles` gives a role for a group, the first that
    matches counts; with it the role is set anew each time, without it an administrator's choice stays. `default_role`
    is everybody else's. `create_users`: whoever comes for the first time becomes a user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed_groups: Texts = ()
    roles: dict[Text, RoleName] = {}
    default_role: RoleName = "member"
    create_users: bool = True


class ClaimsAdmission(Admission):
    """The same for an issuer that signs what it says. Names of claims with dots lead into objects:
    `realm_access.roles`.

    `leeway_seconds` is how far its clock may be ahead of ours.
    """

    issuer: Issuer
    jwks_url: Address | None = None
    algorithms: Algorithms = ("RS256",)
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    subject_claim: Annotated[Text, AfterValidator(issuer_checks.subject_claim)] = "sub"
    name_claims: Texts = ("preferred_username", "email")
    groups_claim: Text = "groups"
    allowed_domains: Domains = ()

    @model_validator(mode="after")
    def _for_somebody(self) -> Self:
        """Everybody whom a public issuer knows is everybody: to let them all in has to be said."""
        if self.create_users and not self.allowed_domains and not self.allowed_groups:
            raise ValueError(
                f"{self.issuer}: who may come in? Set allowed_domains or allowed_groups; "
                'allowed_domains = ["*"] is everybody whom the issuer knows'
            )
        return self


class TokenIssuer(ClaimsAdmission):
    """Somebody else whose tokens are taken as `Authorization: Bearer`. `audience` is what they must be made for."""

    audience: Annotated[Texts, Field(min_length=1)]
    create_users: bool = False


class SignOn(ClaimsAdmission):
    """A login at somebody else's (OpenID Connect). `session_hours` is how long it holds here, at most the gateway's own
    `session_hours`: so often groups are read anew.
    """

    client_id: Text
    client_secret: SecretStr | None = None
    client_secret_file: Path | None = None
    scopes: Texts = ("openid", "profile", "email")
    title: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    session_hours: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_secret(cls, values: Any) -> Any:
        """One that comes from the environment, or stands here, beats the file's."""
        if not isinstance(values, dict) or values.get("client_secret_file") is None or values.get("client_secret"):
            return values
        return {**values, "client_secret": issuer_checks.secret_of(Path(str(values["client_secret_file"])))}

    @model_validator(mode="after")
    def _for_login(self) -> Self:
        if "openid" not in self.scopes:
            raise ValueError("scopes must have “openid” among them")
        return self


class IdentityHeader(Admission):
    """A header in which a proxy says who asks. Only what comes from `from` is believed; `groups` is a header with names
    separated by commas.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)

    user: HeaderName = "X-Forwarded-User"
    groups: HeaderName | None = None
    proxies: Annotated[
        tuple[Annotated[str, AfterValidator(checks.network)], ...],
        BeforeValidator(checks.separated),
        Field(alias="from", min_length=1),
    ]

    @model_validator(mode="after")
    def _groups_are_read(self) -> Self:
        if self.groups is None and (self.allowed_groups or self.roles):
            raise ValueError("allowed_groups and roles need “groups”, the header that names them")
        if self.groups is not None and self.groups.lower() == self.user.lower():
            raise ValueError("user and groups cannot be the same header")
        return self
