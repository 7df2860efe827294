"""Settings and user data, answered by the gateway: every user has a `user/` folder of their own, in ComfyUI's shapes.

It does not know the caller beyond user id and role, nor how files are kept. ComfyUI is only asked for its version.
"""

import hashlib
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final

from gateway.comfy import user_data as shapes
from gateway.comfy.user_data import SETTINGS, ListQuery, UserFile, canonical
from gateway.config import Role
from gateway.errors import InvalidRequest, TooLarge
from gateway.identity.principal import Principal
from gateway.proxy.answer import Answered, Answers, Asked, json_answer
from gateway.proxy.comfy_version import ComfyVersion
from gateway.proxy.headers import FILE_ADDED, SAME_ORIGIN, Header
from gateway.store.user_data import MOST_FILE_BYTES, PathBlocked, PathTaken, Quota, UserFiles

MEBIBYTE: Final = 1024 * 1024
MOST_SETTINGS_BYTES: Final = MEBIBYTE
"""All settings come with every page that the editor loads."""

TEXT: Final[Header] = (b"content-type", b"text/plain; charset=utf-8")
DONE: Final = Answered(200)


class UserData:
    """One method for each answer that the table names."""

    def __init__(
        self,
        files: UserFiles,
        *,
        role_of: Callable[[Principal], Role],
        version: ComfyVersion,
        now: Callable[[], float],
    ) -> None:
        self._files, self._role_of, self._version, self._now = files, role_of, version, now

    def handlers(self) -> Answers:
        """By the name in the table's `answer` column."""
        return {
            "get_settings": self.get_settings,
            "post_settings": self.post_settings,
            "get_setting": self.get_setting,
            "post_setting": self.post_setting,
            "list_user_data": self.list_files,
            "list_user_data_entries": self.list_entries,
            "get_user_file": self.get_file,
            "post_user_file": self.post_file,
            "delete_user_file": self.delete_file,
            "move_user_file": self.move_file,
        }

    async def get_settings(self, asked: Asked) -> Answered:
        """GET /settings: all of them."""
        return json_answer(await self._settings_of(asked))

    async def get_setting(self, asked: Asked) -> Answered:
        """GET /settings/{id}: null for one that is not set."""
        return json_answer((await self._settings_of(asked)).get(asked.call.params["id"]))

    async def post_settings(self, asked: Asked) -> Answered:
        """POST /settings: those in the body are set, the others stay."""
        return await self._set(asked, shapes.as_object(await asked.body(MOST_SETTINGS_BYTES)))

    async def post_setting(self, asked: Asked) -> Answered:
        """POST /settings/{id}: set to whatever JSON the body is."""
        value = shapes.as_json(await asked.body(MOST_SETTINGS_BYTES))
        return await self._set(asked, {asked.call.params["id"]: value})

    async def list_files(self, asked: Asked) -> Answered:
        """GET /userdata?dir=&recurse=&full_info=&split=."""
        values = asked.query()
        if not values.get("dir"):
            return _text("Directory not provided", 400)
        try:
            query = ListQuery.read(values)
        except InvalidRequest:
            return _text("Invalid directory", 403)
        user_id = asked.principal.user_id
        files = await self._files.below(user_id, query.directory)
        if not files and query.directory and not await self._files.is_file(user_id, query.directory):
            return _text("Directory not found", 404)
        return json_answer(shapes.listed(files, query, version=await self._version.get()))

    async def list_entries(self, asked: Asked) -> Answered:
        """GET /v2/userdata?path=: everything below, files and folders."""
        try:
            folder = shapes.folder(asked.query().get("path", ""))
        except InvalidRequest:
            return _text("Invalid path requested", 400)
        user_id = asked.principal.user_id
        files = await self._files.below(user_id, folder)
        if folder and not files:
            is_file = await self._files.is_file(user_id, folder)
            return _text(
                *(("Requested path is not a directory", 400) if is_file else ("Requested path not found", 404))
            )
        return json_answer(shapes.entries(files, folder))

    async def get_file(self, asked: Asked) -> Answered:
        """GET /userdata/{file}: always as a download, in both versions."""
        path = canonical(asked.call.params["file"])
        found = await self._files.read(asked.principal.user_id, path)
        if found is None:
            is_folder = await self._files.below(asked.principal.user_id, path)
            return Answered(403 if is_folder else 404)
        file, content = found
        etag = b'"%s"' % hashlib.blake2b(content, digest_size=16).hexdigest().encode()
        headers = _file_headers(file, etag, ambient=asked.principal.is_ambient)
        if etag in (asked.header(b"if-none-match") or b""):
            return Answered(304, b"", headers)
        return Answered(200, content, ((b"content-type", shapes.content_type(path).encode()), *headers))

    async def post_file(self, asked: Asked) -> Answered:
        """POST /userdata/{file}?overwrite=&full_info=: the body is the file, held in memory, so at most 8 MiB."""
        path, values = canonical(asked.call.params["file"]), asked.query()
        content = await asked.body(min(MOST_FILE_BYTES, self._role(asked).max_upload_mb * MEBIBYTE))
        try:
            file = await self._files.write(
                asked.principal.user_id,
                path,
                content,
                now=self._now(),
                quota=self._quota(asked),
                overwrite=values.get("overwrite") != "false",
            )
        except PathTaken:
            return _text("File already exists", 409)
        except PathBlocked:
            return _blocked()
        return await self._told(file, values)

    async def delete_file(self, asked: Asked) -> Answered:
        """DELETE /userdata/{file}."""
        try:
            removed = await self._files.remove(asked.principal.user_id, canonical(asked.call.params["file"]))
        except PathBlocked:
            return _text("This is a directory: delete what is in it", 400)  # ComfyUI fails with a 500
        return Answered(204 if removed else 404)

    async def move_file(self, asked: Asked) -> Answered:
        """POST /userdata/{file}/move/{dest}?overwrite=&full_info=."""
        source, target = (canonical(asked.call.params[name]) for name in ("file", "dest"))
        values = asked.query()
        overwrite = values.get("overwrite") != "false"
        try:
            file = await self._files.move(asked.principal.user_id, source, target, overwrite=overwrite)
        except PathTaken:
            return _text("File already exists", 409)
        except PathBlocked:
            return _blocked()
        return Answered(404) if file is None else await self._told(file, values)

    async def _settings_of(self, asked: Asked) -> dict[str, Any]:
        found = await self._files.read(asked.principal.user_id, SETTINGS)
        return shapes.settings_in(found[1] if found else None)

    async def _set(self, asked: Asked, values: dict[str, Any]) -> Answered:
        def changed(old: bytes | None) -> bytes:
            content = shapes.settings_file({**shapes.settings_in(old), **values})
            if len(content) > MOST_SETTINGS_BYTES:
                raise TooLarge(f"All settings together would be more than {MOST_SETTINGS_BYTES} bytes.")
            return content

        user_id, quota = asked.principal.user_id, self._quota(asked)
        try:
            await self._files.change(user_id, SETTINGS, changed, now=self._now(), quota=quota)
        except PathBlocked:
            return _blocked()
        return DONE

    async def _told(self, file: UserFile, values: dict[str, str]) -> Answered:
        if shapes.is_true(values, "full_info"):
            return json_answer(shapes.file_info(file, version=await self._version.get()))
        return json_answer(file.path)

    def _role(self, asked: Asked) -> Role:
        return self._role_of(asked.principal)

    def _quota(self, asked: Asked) -> Quota:
        return Quota(self._role(asked).user_data_mb * MEBIBYTE)


def _text(text: str, status: int) -> Answered:
    """In ComfyUI's own words, where there are recordings or its source to know them from."""
    return Answered(status, text.encode(), (TEXT,))


def _blocked() -> Answered:
    """ComfyUI says the like in the status line, with a guess at the cause."""
    return _text("Invalid filename: a file and a directory cannot have the same name", 400)


def _file_headers(file: UserFile, etag: bytes, *, ambient: bool) -> tuple[Header, ...]:
    """What goes with a file: never shown on our origin, never run, never kept by a shared cache.

    As a stylesheet or picture of the editor's page it still works: browsers heed neither a disposition nor a sandbox
    there, and the type is one of a list of harmless ones.
    """
    return (
        (b"content-disposition", b"attachment"),
        (b"etag", etag),
        (b"last-modified", formatdate(file.modified, usegmt=True).encode()),
        *FILE_ADDED,
        *((SAME_ORIGIN,) if ambient else ()),
    )
