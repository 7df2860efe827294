"""`comfy-gateway serve`: runs the gateway. It does not know what the gateway does."""

import asyncio
import sys
from typing import Annotated

import typer
import uvicorn

from gateway.app import Gateway, first_start
from gateway.cli.place import ConfigFile, DataDir, settings_of
from gateway.config import Settings
from gateway.edge.access_log import AccessLog
from gateway.edge.protocol import GuardedProtocol
from gateway.edge.websocket import QuietWebSocketProtocol
from gateway.store.first_start import FirstAdmin

WEBSOCKET_BYTES = 1024 * 1024
"""What a client may send in one message, and so the largest workflow in an `execute`; POST /prompt takes
`max_prompt_mb`."""


def serve(
    comfyui: Annotated[list[str] | None, typer.Option(metavar="URL", help="Where ComfyUI is.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.")] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Run the gateway. The first start makes the database, the keys and an administrator.

    Its log is for people on a terminal, and lines of JSON elsewhere.
    """
    settings = settings_of(config, data_dir, comfyui=comfyui, host=host, port=port)
    first = asyncio.run(first_start(settings))
    print(welcome(settings, first), flush=True)
    server(settings, Gateway(settings, access_log=AccessLog(json=not sys.stderr.isatty()))).run()


def server(settings: Settings, gateway: Gateway) -> uvicorn.Server:
    """The HTTP server with its limits ; not started."""
    return uvicorn.Server(
        uvicorn.Config(
            gateway,
            host=settings.host,
            port=settings.port,
            http=GuardedProtocol,
            ws=QuietWebSocketProtocol,
            ws_max_size=WEBSOCKET_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=20,
            ws_ping_timeout=20,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=25,
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            lifespan="on",
        )
    )


def address(settings: Settings) -> str:
    """Where a browser finds us."""
    return settings.public_url or f"http://{settings.host}:{settings.port}"


def welcome(settings: Settings, first: FirstAdmin | None) -> str:
    """What an operator reads at each start; the password at the first one only."""
    lines = [f"ComfyUI Gateway at {address(settings)}, in front of {settings.comfyui[0]}"]
    if first:
        lines += [
            f"Log in at {address(settings)}/gateway/login as {first.name} with the password {first.password}",
            "(shown this once; change it with: comfy-gateway user set admin --password)",
        ]
    return "\n".join(lines)
