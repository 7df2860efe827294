"""The settings: one frozen value with everything an operator can choose. It does not know where the values come from,
nor who uses them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.config import checks
from gateway.config.issuers import Admission, IdentityHeader, ProviderName, RoleName, SignOn, TokenIssuer

Permission = Literal["read", "submit", "admin"]
Origin = Literal["default", "file", "environment", "flag"]

_DEFAULT_ROLES: Mapping[str, Mapping[str, Any]] = {
    "member": {"permissions": ["read", "submit"]},
    "admin": {"permissions": ["read", "submit", "admin"]},
}

Servers = Annotated[
    tuple[Annotated[str, AfterValidator(checks.server)], ...], NoDecode, BeforeValidator(checks.separated)
]
Networks = Annotated[
    tuple[Annotated[str, AfterValidator(checks.network)], ...], NoDecode, BeforeValidator(checks.separated)
]
Rate = Annotated[str, AfterValidator(checks.rate)]
Routes = tuple[Annotated[str, AfterValidator(checks.route)], ...]


class Events(BaseModel):
    """What becomes of event types that are not ComfyUI's own: sent to everybody, or to the owner of the running job.
    Others are dropped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)

    broadcast: tuple[str, ...] = ()
    owner_of_running: tuple[str, ...] = Field(default=(), alias="owner-of-running")


class Nodes(BaseModel):
    """Which node classes a role may use, by patterns of names such as "Save*". Those of custom packs need trust in the
    pack; `deny` beats the rest; `allow` opens classes of ComfyUI that are closed because they work on whole folders.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    trusted_packs: tuple[str, ...] = ()


class Models(BaseModel):
    """Which models a role may see and load, by patterns such as "loras/private/*"; `deny` beats `allow`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()


class Rates(BaseModel):
    """How often a user may do what, by class: "30/minute", "100/10 seconds". Windows slide: in no minute are there more
    than 30. A page of ComfyUI's editor is some 400 `static` files; a `login` is one that succeeded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    submit: Rate = "300/minute"
    poll: Rate = "2000/10 seconds"
    view: Rate = "2000/10 seconds"
    upload: Rate = "600/minute"
    login: Rate = "60/minute"
    socket: Rate = "300/minute"
    static: Rate = "10000/10 seconds"
    default: Rate = "2000/10 seconds"


class TokenRates(BaseModel):
    """How often one token of a user may do what; None leaves it at what its user may."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    submit: Rate | None = None
    poll: Rate | None = None
    view: Rate | None = None
    upload: Rate | None = None
    login: Rate | None = None
    socket: Rate | None = None
    static: Rate | None = None
    default: Rate | None = None


class AddressRates(BaseModel):
    """How often one address may do what needs no credential, or comes without a good one. A whole house or school may
    have one address, and so does everybody behind a proxy that is not listed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    anonymous: Rate = "60/minute"
    login: Rate = "300/minute"
    page: Rate = "2000/10 seconds"


AtLeastOne = Annotated[int, Field(ge=1)]


class Role(BaseModel):
    """What a role may do, and its limits; None is no limit. Sizes are in 1024 * 1024 bytes.

    `weight` is the share in the fair queue, and of two priorities the higher one always goes first. `max_running` are
    jobs at a server at a time. A pixel cap is for one picture, a cap on the batch or the steps for one node.
    `storage_mb` and `retention_days` count where `comfyui_files` is set, `upload_mb_per_day` where it is not.
    Days, weeks (from Monday) and months are those of UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    permissions: frozenset[Permission]
    weight: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] = 1.0
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    max_running: AtLeastOne | None = None
    max_job_seconds: AtLeastOne | None = None
    gpu_seconds_per_day: AtLeastOne | None = None
    gpu_seconds_per_week: AtLeastOne | None = None
    gpu_seconds_per_month: AtLeastOne | None = None
    max_queued: Annotated[int, Field(ge=1)] = 100
    max_upload_mb: Annotated[int, Field(ge=1)] = 100
    max_nodes: AtLeastOne | None = None
    max_batch: AtLeastOne | None = None
    max_pixels: AtLeastOne | None = None
    max_steps: AtLeastOne | None = None
    max_sockets: Annotated[int, Field(ge=1)] = 32
    max_uploads: Annotated[int, Field(ge=1)] = 10_000
    storage_mb: Annotated[int, Field(ge=1)] = 2048
    upload_mb_per_day: Annotated[int, Field(ge=1)] = 500
    retention_days: Annotated[int, Field(ge=1)] | None = None
    """After how many days a user's own files are deleted; None keeps them for ever."""
    rates: Rates = Rates()
    token_rates: TokenRates = TokenRates()
    user_data_mb: Annotated[int, Field(ge=1)] = 100
    routes: Routes = ()
    events: Events = Events()
    nodes: Nodes = Nodes()
    models: Models = Models()


class Settings(BaseSettings):
    """Everything an operator can choose. Made by `load`; tests make one directly and must give `data_dir`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data_dir: Annotated[Path, AfterValidator(checks.directory)]
    comfyui: Servers = ("http://127.0.0.1:8188",)
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8190
    comfyui_files: Annotated[Path, AfterValidator(checks.comfyui_files)] | None = None
    """ComfyUI's data directory, where it is mounted here: the one that holds `input`, `output` and `temp`."""
    database_url: Annotated[SecretStr, AfterValidator(checks.database)] | None = None
    public_url: Annotated[str, AfterValidator(checks.server)] | None = None
    trusted_proxies: Networks = ()
    secret_key: Annotated[SecretStr, AfterValidator(checks.secret)] | None = None
    cors_origins: Servers = ()
    address_rates: Annotated[AddressRates, NoDecode] = AddressRates()
    roles: Annotated[dict[RoleName, Role], NoDecode] = Field(default={}, validate_default=True)
    issuers: Annotated[tuple[TokenIssuer, ...], NoDecode] = ()
    sso: Annotated[dict[ProviderName, SignOn], NoDecode] = {}
    identity_header: Annotated[IdentityHeader | None, NoDecode] = None
    networks: Annotated[dict[Annotated[str, AfterValidator(checks.network)], str], NoDecode] = {}
    """Whoever asks from such a network, and sends nothing else, is this user."""
    history_newest: Annotated[int, Field(ge=1)] = 200
    history_days: Annotated[int, Field(ge=1)] = 90
    session_hours: Annotated[int, Field(ge=1)] = 168
    access_minutes: Annotated[int, Field(ge=1)] = 15
    max_prompt_mb: Annotated[int, Field(ge=1)] = 8
    share_inputs: bool | None = None
    """Whether everybody may read the files at the top of ComfyUI's input folder. With None, the default, the gateway
    decides when it first meets the server: yes, if there are none but ComfyUI's own.
    """

    _origins: Mapping[tuple[str, ...], Origin] = PrivateAttr(default={})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands in: the library's own sources read the process's environment and forget which value
        came from where.
        """
        return (init_settings,)

    @field_validator("comfyui")
    @classmethod
    def _one_server(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if len(urls) != 1:
            raise ValueError(f"exactly one ComfyUI server, not {len(urls)}: several are not available yet")
        return urls

    @field_validator("roles", mode="before")
    @classmethod
    def _over_the_defaults(cls, roles: object) -> object:
        """A table for a role that we have changes the keys it names and leaves the others."""
        if not isinstance(roles, Mapping):
            return roles
        changed = {name: _merged(name, table) for name, table in roles.items()}
        return {**_DEFAULT_ROLES, **changed}

    @field_validator("issuers")
    @classmethod
    def _known_once(cls, issuers: tuple[TokenIssuer, ...], info: ValidationInfo) -> tuple[TokenIssuer, ...]:
        names = [entry.issuer for entry in issuers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: stands there twice; one entry can list several audiences")
        _require_roles(info, {entry.issuer: entry for entry in issuers})
        return issuers

    @field_validator("sso")
    @classmethod
    def _can_come_back(cls, providers: dict[str, SignOn], info: ValidationInfo) -> dict[str, SignOn]:
        """The provider sends browsers back to an address that it was told beforehand."""
        if providers and info.data.get("public_url", "") is None:
            raise ValueError("needs public_url: the provider has to know where to send people back")
        _require_roles(info, providers)
        return providers

    @field_validator("identity_header")
    @classmethod
    def _known_roles(cls, header: IdentityHeader | None, info: ValidationInfo) -> IdentityHeader | None:
        if header is not None:
            _require_roles(info, {header.user: header})
        return header

    @field_validator("networks")
    @classmethod
    def _seen_from_here(cls, networks: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        """Behind a proxy that is not listed everybody comes from the proxy's address."""
        is_behind = (info.data.get("public_url") or "").startswith("https:")
        if networks and is_behind and not info.data.get("trusted_proxies"):
            raise ValueError("needs trusted_proxies: else everybody seems to come from the server in front")
        return networks


def _require_roles(info: ValidationInfo, rules: Mapping[str, Admission]) -> None:
    """Each role is one that there is; and nobody becomes an administrator by default."""
    roles: Mapping[str, Role] = info.data.get("roles", {})
    problems = []
    for name, rule in rules.items():
        unknown = sorted({rule.default_role, *rule.roles.values()} - set(roles)) if roles else []
        problems += [f"{name}: there is no role “{role}”" for role in unknown]
        default = roles.get(rule.default_role)
        if default is not None and "admin" in default.permissions:
            problems.append(f"{name}: default_role must not be an administrator's; name a group for it in roles")
    if problems:
        raise ValueError("; ".join(problems))


def _merged(name: str, table: object) -> object:
    return {**_DEFAULT_ROLES.get(name, {}), **table} if isinstance(table, Mapping) else table
