"""Refusals of the control plane in the contract's shape, whoever raised them. It does not know the routes."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import GatewayError, InvalidRequest, MethodNotAllowed, NotFound, TooLarge

_MOST_PROBLEMS = 10


def add_refusals(app: FastAPI) -> None:
    """Answer with the contract's shape to everything that the application's routes and the framework raise."""
    app.add_exception_handler(GatewayError, _answer)
    app.add_exception_handler(HTTPException, _answer)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_exception_handler(Exception, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    refusal = as_gateway_error(error)
    about = request.scope["gateway"]
    about["reason"] = refusal.reason or refusal.type
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **refusal.headers}
    return JSONResponse(refusal.body(about["request_id"]), refusal.status, headers)


def as_gateway_error(error: Exception) -> GatewayError:
    """The refusal that an exception of the framework means."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, RequestValidationError):
        return InvalidRequest(
            "The request is not in the form that this address takes.", details=_problems(error.errors())
        )
    if isinstance(error, HTTPException):
        return _from_http(error)
    return GatewayError("The gateway failed.", reason=type(error).__name__)


def _from_http(error: HTTPException) -> GatewayError:
    """What was raised while the framework read the body is behind a general 400 of its own."""
    if isinstance(error.__cause__, GatewayError):
        return error.__cause__
    if error.status_code == 404:
        return NotFound("There is no such address.")
    if error.status_code == 405:
        return MethodNotAllowed("This address is asked with another method.", headers=dict(error.headers or {}))
    return InvalidRequest("The request cannot be read.", reason=str(error.detail))


def _problems(errors: Any) -> str:
    """Where and what, never the value: it may be a password."""
    texts = [f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in errors[:_MOST_PROBLEMS]]
    return "; ".join(texts)


class BodyLimit:
    """An ASGI application that takes bodies of at most `limit` bytes, whether or not they announce their size."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise TooLarge(f"This address takes at most {self._limit} bytes.", extra_info={"limit": self._limit})
            return message

        await self._app(scope, limited, send)
