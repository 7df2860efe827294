"""The form of an upload on its way through: the file as it comes, its name and its place written anew.

It does not know whose folder it goes to beyond the root it is given, nor where the bytes come from.
"""

from collections.abc import Iterator
from typing import Final

import orjson

from gateway.comfy.document import Limits, read
from gateway.comfy.files import FileRef, Root, annotated
from gateway.errors import FileNotAllowed, InvalidRequest
from gateway.proxy.form import FormReader, FormWriter, PartStart

IMAGE: Final = "image"
FIELDS: Final = ("type", "subfolder", "overwrite", "original_ref")
MOST_FIELD_BYTES: Final = 8192
TYPES: Final = ("input", "temp")
"""Where users may upload to: the editor's pictures and masks go to input, its older masks to temp. Outputs are made by
jobs alone."""
TRUE: Final = (b"true", b"1")
"""What ComfyUI takes for yes."""


class UploadForm:
    """One form on its way: the file goes on as it comes, the fields are held until all of them are known.

    `wanted` is the file by its visible name, and `size` its bytes; both count when the form has ended.
    """

    def __init__(self, reader: FormReader, writer: FormWriter, root: Root, *, masked: bool) -> None:
        self.writer, self.masked = writer, masked
        self.size = 0
        self.wanted = FileRef("input", "", "")
        self._reader, self._root = reader, root
        self._filename = ""
        self._fields: dict[str, bytes] = {}
        self._current: str | None = None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What of the body so far can go on. Raises InvalidRequest, FileNotAllowed."""
        for event in self._reader.feed(piece):
            if isinstance(event, PartStart):
                yield from self._begin(event)
            elif self._current == IMAGE:
                self.size += len(event.content)
                yield event.content
            elif self._current is not None:
                self._fields[self._current] += event.content
                if len(self._fields[self._current]) > MOST_FIELD_BYTES:
                    raise InvalidRequest(f"The field {self._current} is too long.")

    def finish(self) -> FileRef | None:
        """The body has ended; the visible name of a mask's original. Raises InvalidRequest, FileNotAllowed."""
        self._reader.finish()
        if not self._filename:
            raise InvalidRequest("The form has no file in its field image.")
        fields = {name: _decoded(name, value) for name, value in self._fields.items()}
        type_ = fields.get("type", "input")
        self.wanted = self._root.stripped(FileRef.read(type_, folder_of(fields.get("subfolder", "")), self._filename))
        if type_ not in TYPES:
            raise FileNotAllowed("Files are uploaded to input or temp.")
        if not self.masked:
            return None
        if "original_ref" not in fields:
            raise InvalidRequest("The form of a mask needs the field original_ref.")
        return original_of(fields["original_ref"])

    def closing(self, original: FileRef | None) -> bytes:
        """The fields, with places below the root, and the end of the form."""
        rooted = self._root.under(self.wanted)
        fields = {"type": rooted.type, "subfolder": rooted.subfolder}
        if self._fields.get("overwrite") in TRUE:
            fields["overwrite"] = "true"
        if original is not None:
            place = {"filename": original.filename, "subfolder": original.subfolder, "type": original.type}
            fields["original_ref"] = orjson.dumps(place).decode()
        last = self.writer.end() if self._current == IMAGE else b""
        return last + b"".join(self.writer.field(*field) for field in fields.items()) + self.writer.close()

    def _begin(self, part: PartStart) -> Iterator[bytes]:
        if self._current == IMAGE:
            yield self.writer.end()
        self._current = None
        if part.name == IMAGE:
            if self._filename:
                raise _twice(part.name)
            self._filename = base_name(part.filename or "")
            yield self.writer.file(IMAGE, self._filename)
        elif part.name in FIELDS:
            if part.name in self._fields:
                raise _twice(part.name)
            if part.filename is not None:
                raise InvalidRequest(f"The field {part.name} must not be a file.")
            self._fields[part.name] = b""
        else:
            return  # ComfyUI takes no note of other fields, and their content stays here
        self._current = part.name


def base_name(filename: str) -> str:
    """The last part of a name that a client may have given with its folders. Raises FileNotAllowed, InvalidRequest."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    if not name:
        raise InvalidRequest("The field image must be a file with a name.")
    return FileRef.read("input", "", name).filename


def folder_of(subfolder: str) -> str:
    """A client's subfolder without empty and single-dot parts. Raises FileNotAllowed for one from the root."""
    if subfolder.startswith("/"):
        raise FileNotAllowed("This folder name leads out of its folder.")
    return "/".join(part for part in subfolder.split("/") if part not in ("", "."))


def original_of(text: str) -> FileRef:
    """The visible name of a mask's original, read as ComfyUI does. Raises InvalidRequest, FileNotAllowed."""
    value = read(text.encode(), limits=Limits(max_bytes=MOST_FIELD_BYTES))
    if not isinstance(value, dict):
        raise InvalidRequest("The field original_ref must be a JSON object.")
    filename, subfolder, type_ = (
        value.get(name, default) for name, default in (("filename", None), ("subfolder", ""), ("type", "output"))
    )
    if not (isinstance(filename, str) and isinstance(subfolder, str) and isinstance(type_, str)):
        raise InvalidRequest("The field original_ref must hold a filename, and texts only.")
    outside = FileRef.read(type_, folder_of(subfolder), "x")
    inside = annotated(filename, default=outside.type)
    folders = "/".join(filter(None, (outside.subfolder, inside.subfolder)))
    return FileRef.read(inside.type, folders, inside.filename)


def _twice(name: str) -> InvalidRequest:
    return InvalidRequest(f"The field {name} comes twice.")


def _decoded(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The field {name} is not UTF-8.") from error
