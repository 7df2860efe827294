"""Forms of `multipart/form-data`, read piece by piece as they arrive and written anew.

It does not know which fields mean what. Nothing of what a client wrote between the values goes on: boundaries, part
headers and what stands before, between and after the parts are our own, so two parsers cannot read one form in two
ways.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from gateway.errors import InvalidRequest

MOST_PARTS: Final = 16
MOST_HEADERS: Final = 8
MOST_HEADER_BYTES: Final = 4096
MOST_STRAY_BYTES: Final = 4096
"""Before the first part and after the last, where no client writes anything but a line break."""

_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_EXTENDED = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^';\s]*'([^';\s]+)\s*(?:;|\Z)", re.IGNORECASE)
_PLAIN_ENCODINGS = (b"7bit", b"8bit", b"binary", b"identity")


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part begins. `filename` is as the client wrote it, None for a field that is no file."""

    name: str
    filename: str | None


@dataclass(frozen=True, slots=True)
class PartData:
    """More of the content of the part that has begun."""

    content: bytes


Event = PartStart | PartData


def boundary_of(content_type: bytes | None) -> bytes:
    """The boundary that a request's Content-Type names. Raises InvalidRequest for everything that is no form."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:
        raise InvalidRequest("This address takes a form: multipart/form-data with a boundary.")
    return boundary


class FormReader:
    """`feed` it the body as it arrives, in whatever pieces, and `finish` it.

    Both raise InvalidRequest for what is no form, or one with too many parts or too large part headers. A part may come
    in any number of PartData.
    """

    def __init__(self, boundary: bytes) -> None:
        self._events: list[Event] = []
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._parts = self._stray = 0
        self._inside = self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._part_has_head,
                "on_part_data": self._part_data,
                "on_part_end": self._part_ends,
                "on_end": self._form_ends,
            },
            max_header_count=MOST_HEADERS,
            max_header_size=MOST_HEADER_BYTES,
        )

    def feed(self, piece: bytes) -> list[Event]:
        """What the piece brings to an end or adds to."""
        self._events = []
        outside = not self._inside
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise InvalidRequest("The form cannot be read.", details=str(error)[:200]) from error
        if outside and not self._inside and not self._events:
            self._stray += len(piece)
            if self._stray > MOST_STRAY_BYTES:
                raise InvalidRequest("There is too much before or after the parts of the form.")
        return self._events

    def finish(self) -> None:
        """The body has ended. Raises InvalidRequest if the form has not: it was cut short."""
        if not self._ended:
            raise InvalidRequest("The form is not complete: its closing boundary is missing.")

    def _part_begins(self) -> None:
        self._inside = True
        self._headers = {}
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InvalidRequest(f"The form has more than {MOST_PARTS} parts.", extra_info={"limit": MOST_PARTS})

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        name, value = self._name.lower(), self._value
        self._name, self._value = b"", b""
        if name in self._headers:
            raise InvalidRequest("A part of the form has the same header twice.")
        self._headers[name] = value

    def _part_has_head(self) -> None:
        for header in (b"content-transfer-encoding", b"content-encoding"):
            # ComfyUI's server would decode these, so that a limit on bytes would be none.
            if self._headers.get(header, b"binary").strip().lower() not in _PLAIN_ENCODINGS:
                raise InvalidRequest("A part of the form is encoded; send it as it is.")
        self._events.append(_start(self._headers.get(b"content-disposition", b"")))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartData(data[start:end]))

    def _part_ends(self) -> None:
        self._inside = False

    def _form_ends(self) -> None:
        self._ended = True


class FormWriter:
    """The bytes of a form, part by part: `field`s, and `file`s whose content follows, with `end` after each."""

    def __init__(self, boundary: str) -> None:
        self._line = f"--{boundary}".encode()
        self.content_type = f'multipart/form-data; boundary="{boundary}"'.encode()

    def file(self, name: str, filename: str) -> bytes:
        """The head of a file."""
        # Only the extended form keeps every name whole in aiohttp's parser, which cuts the plain one at semicolons.
        disposition = f"form-data; name=\"{name}\"; filename*=UTF-8''{quote(filename, safe='')}"
        head = f"\r\nContent-Disposition: {disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
        return self._line + head.encode()

    def field(self, name: str, value: str) -> bytes:
        """A whole field."""
        return self._line + f'\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()

    def end(self) -> bytes:
        """The end of a file."""
        return b"\r\n"

    def close(self) -> bytes:
        """The end of the form."""
        return self._line + b"--\r\n"


def _start(disposition: bytes) -> PartStart:
    """Read a part's Content-Disposition. Raises InvalidRequest if it names no field."""
    kind, options = parse_options_header(disposition)
    if kind != b"form-data" or not options.get(b"name"):
        raise InvalidRequest("A part of the form has no name.")
    filename = options.get(b"filename")
    if filename is None:
        # RFC 7578 forbids this form, and older urllib3 sends nothing else for names that are not ASCII.
        extended = _EXTENDED.search(_QUOTED.sub(b'""', disposition))
        filename = unquote_to_bytes(extended[1]) if extended else None
    return PartStart(_text(options[b"name"]), None if filename is None else _text(filename))


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("A name in the form is not UTF-8.") from error
