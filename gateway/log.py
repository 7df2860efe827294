"""The log: one event a line, on standard error, every field short and without secrets. It does not know what is worth
logging.

What other libraries log through `logging` takes the same way out, so uvicorn's and SQLAlchemy's lines are masked too.
"""

import logging
import re
import sys
from collections.abc import Iterable
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MAX_FIELD: Final = 256
"""Characters of one field that are kept (security, 2: "log field 256")."""
MAX_TRACEBACK: Final = 8192
_MAX_READ: Final = 65536
"""What is behind that many characters is cut off before it is looked at: masking must not cost more than logging."""

_HIDDEN: Final = "***"
_SECRET_NAMES: Final = (
    "authorization|proxy-authorization|cookie|set-cookie|x-api-key|password|passwd|secret|secret_key|client_secret|"
    "access_token|id_token|code_verifier|token"
)
_SECRET_FIELD: Final = re.compile(rf"(?:.*[._-])?(?:{_SECRET_NAMES})", re.IGNORECASE)
_MASKS: Final = (
    # Our tokens, whole or cut off, with any part of them percent-encoded. First, so that no later mask can split one.
    (re.compile(r"(?:c|%63)(?:g|%67)(?:w|%77)(?:_|%5f)[0-9A-Za-z_%]*", re.IGNORECASE), "cgw_" + _HIDDEN),
    # The path token, whatever it looks like.
    (re.compile(r"(/gateway/t/)[^/?#\s\"']+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    # JWTs: base64 of `{"` starts every one.
    (re.compile(r"eyJ[0-9A-Za-z_-]*(?:\.[0-9A-Za-z_-]*)*"), _HIDDEN),
    # The password in an address of a database.
    (re.compile(r"(\b(?:postgres|postgresql)(?:\+\w+)?://[^\s:@/]*:)[^\s@]+@", re.IGNORECASE), rf"\1{_HIDDEN}@"),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s,\"']+", re.IGNORECASE), rf"\1 {_HIDDEN}"),
    # `name: value`, `name=value`, ('name', 'value'), "name": "value": all the rest of the line, which may be all of it.
    (re.compile(rf"\b({_SECRET_NAMES})(?:['\"]\s*[:=,]|\s*[:=])[^\r\n]*", re.IGNORECASE), rf"\1={_HIDDEN}"),
)
_INTERNAL: Final = ("_record", "_from_structlog")
"""What structlog's formatter keeps in an event of another library until the line is written."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def configure(*, json: bool) -> None:
    """Set the log up for this process: lines of JSON for machines, else lines for people."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        masked,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    _take_over_logging(shared, json=json)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The log of one module: `log.info("what happened", field=value)`."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


def masked(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last processor before the line is written: every field bounded, on one line, and without secrets."""
    return {
        _plain(str(name)): value if name in _INTERNAL else _field(str(name), value) for name, value in event.items()
    }


def mask(text: str) -> str:
    """`text` without tokens, cookies, passwords and credentials, whatever surrounds them."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def _field(name: str, value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_FIELD.fullmatch(name):
        return _HIDDEN
    text = mask((value if isinstance(value, str) else repr(value))[:_MAX_READ])
    if name == "exception":
        # A traceback needs its lines; the bar keeps a message with a line break from looking like a line of the log.
        return "\n  | ".join(_plain(line) for line in _bounded(text, MAX_TRACEBACK).split("\n"))
    return _plain(_bounded(text, MAX_FIELD))


def _bounded(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(text: str) -> str:
    """Control and direction characters made visible, so that a user name cannot write a line of its own."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _take_over_logging(shared: Iterable[Processor], *, json: bool) -> None:
    renderer: Processor = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=list(shared),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("gateway", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)
