"""The JSON of the control plane, as models; they are also its documentation. They do not know where the values come
from.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from gateway.identity.principal import Via


class Health(BaseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Whether requests can be served, and which of the parts that this takes are there."""

    status: Literal["ready", "unavailable"]
    checks: dict[str, bool]


class AccessToken(BaseModel):
    """The answer of an OAuth 2 token endpoint (RFC 6749, 5.1)."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = Field(description="Seconds.")
    scope: str = Field(description="What it may be used for, separated by spaces.")


class Me(BaseModel):
    """The caller."""

    name: str
    role: str
    permissions: list[str]
    via: Via = Field(description="The kind of credential that came along.")
    expires_at: float | None = Field(description="When the credential ends, in seconds since 1970; null means never.")


class File(BaseModel):
    """A file of the caller's, by the name that `/view` takes."""

    type: Literal["input", "output", "temp"]
    subfolder: str = Field(default="", description="Without a slash at either end; empty for the top.")
    filename: str


class KeptFile(File):
    """A file with what is known of it."""

    size: int | None = Field(description="Bytes; null where the gateway cannot see the file.")
    modified: float | None = Field(description="Seconds since 1970.")


class StorageUse(BaseModel):
    """How much the caller keeps, and may keep."""

    used: int = Field(description="Bytes.")
    limit: int = Field(description="Bytes.")


class Files(BaseModel):
    """A page of the caller's files, newest first."""

    files: list[KeptFile]
    total: int = Field(description="How many files there are in all, on other pages too.")
    next: str | None = Field(description="The `cursor` of the next page; null on the last.")
    storage: StorageUse | None = Field(description="Null where the gateway cannot see the files.")


class Names(BaseModel):
    """Files to delete."""

    files: list[File] = Field(min_length=1, max_length=500)


class Deleted(BaseModel):
    """What became of a list: files that are gone now, and names of which the caller has no file."""

    deleted: list[File]
    missing: list[File]


class ErrorBody(BaseModel):
    """What went wrong, for a program and for a person."""

    type: str
    message: str
    details: str
    extra_info: dict[str, Any]


class Error(BaseModel):
    """Every refusal, here and at ComfyUI's addresses."""

    error: ErrorBody
    node_errors: dict[str, Any]
    request_id: str
