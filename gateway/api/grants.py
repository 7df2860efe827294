"""What a token endpoint is asked for (RFC 6749, 4.3 and 4.4), as a name and a password. It does not know whether they
are right.

A client of ours is whoever has an API token: the token is its secret, and its id means nothing. Refusals have the
shape of all refusals here; `extra_info.oauth_error` is the word that OAuth has for them.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_plus

from pydantic import BaseModel, Field

from gateway.errors import CHALLENGE, InvalidRequest, Unauthenticated
from gateway.identity.tokens import PREFIX

PASSWORD: Final = "password"
CLIENT: Final = "client_credentials"


class TokenRequest(BaseModel):
    """The form."""

    grant_type: str = Field(default=PASSWORD, description="`password` or `client_credentials`.")
    username: str = Field(default="", description="For `password`. With a token as the password it may stay empty.")
    password: str = Field(default="", description="For `password`: the password, or an API token.")
    client_id: str = Field(default="", description="Means nothing here.")
    client_secret: str = Field(default="", description="For `client_credentials`: an API token.")
    scope: str = Field(default="", description="Not looked at: the answer says what the token may be used for.")


def login_of(form: TokenRequest, authorization: Sequence[str]) -> tuple[str, str]:
    """Name and password. Raises InvalidRequest, or Unauthenticated for a secret that is no API token."""
    if form.grant_type == PASSWORD:
        return form.username, form.password
    if form.grant_type != CLIENT:
        raise _refused("There is no such grant type here.", "unsupported_grant_type")
    secrets = [_basic_secret(value) for value in authorization] + ([form.client_secret] if form.client_secret else [])
    if len(secrets) != 1:
        raise _refused("Send one API token: as client_secret, or as the password of Basic.", "invalid_request")
    if not secrets[0].startswith(PREFIX):
        # A password is no client's secret: else names and passwords could be tried here beside their slow-down.
        raise Unauthenticated(
            "The credential is not valid.",
            details="The secret of a client is an API token.",
            extra_info={"oauth_error": "invalid_client"},
            headers={"WWW-Authenticate": CHALLENGE},
            reason="the client's secret is no API token",
        )
    return "", secrets[0]


def _basic_secret(value: str) -> str:
    """Both halves are written as in a form (RFC 6749, 2.3.1)."""
    scheme, _, encoded = value.partition(" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        pair = ""
    if scheme.lower() != "basic" or ":" not in pair:
        raise _refused("A client proves itself with Basic, or in the form.", "invalid_request")
    return unquote_plus(pair.partition(":")[2])


def _refused(message: str, word: str) -> InvalidRequest:
    return InvalidRequest(message, extra_info={"oauth_error": word})
