"""The websocket server protocol, quiet where uvicorn's says too much. It does not know what is sent, nor who may.

Three facts of uvicorn 0.54: it logs the whole address of every websocket, with the query that may hold a token; after a
refusal before the handshake it reports an error, once for each stranger who knocks; and a frame that is sent after the
close is an error of the application to it, though only the network decides which comes first.
"""

import asyncio
import logging
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState


class QuietWebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection that has become, or wants to become, a websocket."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = logging.getLogger(f"{self.logger.name}.websocket")
        self.logger.setLevel(logging.WARNING)
        self.conn.logger, self.conn.debug = self.logger, False

    async def send(self, message: ASGISendEvent) -> None:
        if self.close_sent:
            # The other side's close was answered while a frame was on its way here: no error, nobody is there.
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True
