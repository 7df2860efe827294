"""`/upload/image` and `/upload/mask`: a form goes through as a stream, into the caller's own folder.

It does not know what is in a file, nor how a form is written. ComfyUI acts when it has the whole form, so a refusal at
any byte before the last leaves nothing behind.

Room is taken for the bytes as they come and for the name before the form ends, so that many uploads at once cannot
take it twice. A user's files cannot clash with anybody else's, because the folder is the user's; so what ComfyUI tells
about equal names and equal contents is about one's own files only.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import orjson

from gateway.comfy.files import FileRef, Root
from gateway.errors import GatewayError, InvalidRequest, NotFound, TooLarge, UnsupportedMedia, UpstreamFault
from gateway.identity.principal import Principal
from gateway.policy.allowance import Allowance
from gateway.proxy.answer import Answered, Asked, json_answer
from gateway.proxy.body import RequestBody
from gateway.proxy.files import OwnFiles
from gateway.proxy.form import FormReader, FormWriter, boundary_of
from gateway.proxy.rewrite import Rewritten
from gateway.proxy.upload_form import UploadForm
from gateway.store import Store
from gateway.store.storage import Storage
from gateway.store.upload_room import UploadRoom
from gateway.upstream.server import Incoming

MOST_ANSWER_BYTES: Final = 64 * 1024
FORM_BYTES: Final = 64 * 1024
"""At most so much of a form that ComfyUI takes is not the file."""


class Uploads:
    """One method for each rewrite that the table names.

    `allowance_of` says how much a caller may keep and bring, and `storage` whether there is so much. `random_text`
    gives a new text that nobody can guess, for boundaries; `now` is in seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        files: OwnFiles,
        *,
        storage: Storage,
        allowance_of: Callable[[Principal], Allowance],
        random_text: Callable[[], str],
        now: Callable[[], float],
    ) -> None:
        self._store, self._files, self._storage, self._allowance_of = store, files, storage, allowance_of
        self._random_text, self._now = random_text, now

    async def image(self, asked: Asked, body: RequestBody | None) -> Rewritten:
        """POST /upload/image: a form with `image`, and `type`, `subfolder` and `overwrite` if they are wanted."""
        return await self._rewritten(asked, body, masked=False)

    async def mask(self, asked: Asked, body: RequestBody | None) -> Rewritten:
        """POST /upload/mask: the same with `original_ref`, the picture whose copy gets the alpha of `image`."""
        return await self._rewritten(asked, body, masked=True)

    async def _rewritten(self, asked: Asked, body: RequestBody | None, *, masked: bool) -> Rewritten:
        if (asked.header(b"content-encoding") or b"identity").strip().lower() != b"identity":
            # ComfyUI's server would unpack it, and a limit on bytes would be none.
            raise UnsupportedMedia("A compressed form is not taken; send it as it is.")
        reader = FormReader(boundary_of(asked.header(b"content-type")))
        if body is None:
            raise InvalidRequest("The form is empty.")
        root = await self._store.roots.of(asked.principal.user_id)
        upload = UploadForm(reader, FormWriter(self._random_text()), root, masked=masked)
        user_id = asked.principal.user_id
        room = self._storage.upload(
            user_id,
            self._allowance_of(asked.principal),
            exists=partial(self._has, root=root),
            token_id=asked.principal.token_id,
        )
        try:
            await room.claim((body.length or 0) - FORM_BYTES)
        except BaseException:
            room.end()
            raise
        return Rewritten(
            asked.call.raw_path,
            headers=((b"content-type", upload.writer.content_type),),
            pieces=self._pieces(upload, body, user_id, room),
            replaced=partial(self._replaced, upload, room),
            ended=room.end,
        )

    async def _pieces(
        self, upload: UploadForm, body: RequestBody, user_id: int, room: UploadRoom
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(body.pieces()) as pieces:
            async for piece in pieces:
                read = list(upload.feed(piece))
                # Nobody knows how much more comes of a body without a length.
                await room.claim(upload.size, ahead=upload.size // 4 if body.length is None else 0)
                for out in read:
                    yield out
        original = upload.finish()
        if original is not None:
            original = await self._found(user_id, original)
        await room.name(upload.wanted, upload.size, now=int(self._now() * 1000))
        yield upload.closing(original)

    async def _found(self, user_id: int, original: FileRef) -> FileRef:
        """ComfyUI says 200 when there is no such picture and stores nothing, so it is asked before."""
        found = await self._files.find(user_id, original)
        if not await self._files.exists(found):
            raise NotFound("There is no such file.", reason="the original of a mask is not there")
        return found

    async def _has(self, ref: FileRef, *, root: Root) -> bool:
        """Whether ComfyUI has a file of the user with this root, by its visible name."""
        return await self._files.exists(root.under(ref))

    async def _replaced(self, upload: UploadForm, room: UploadRoom, answer: Incoming) -> Answered:
        """ComfyUI's answer with the name as its owner sees it, once the upload is noted."""
        if answer.status != 200:
            room.refuse()
            raise _refusal(answer.status, masked=upload.masked)
        ref = _stored(upload.wanted, await _small(answer))
        await room.land(ref, upload.size, now=int(self._now() * 1000))
        return json_answer({"name": ref.filename, "subfolder": ref.subfolder, "type": ref.type})


def _refusal(status: int, *, masked: bool) -> GatewayError:
    reason = f"ComfyUI answered {status}"
    if status == 413:
        return TooLarge("The file is larger than ComfyUI takes.", reason=reason)
    if 400 <= status < 500:
        return InvalidRequest("ComfyUI did not take the file.", reason=reason)
    if masked:
        # It opens both pictures; the form itself cannot be the reason.
        return InvalidRequest("ComfyUI cannot make a mask of these files.", reason=reason)
    return UpstreamFault("ComfyUI could not store the file.", reason=reason)


async def _small(answer: Incoming) -> Any:
    whole = bytearray()
    async for piece in answer.body():
        whole += piece
        if len(whole) > MOST_ANSWER_BYTES:
            raise UpstreamFault("ComfyUI's answer is too large.", reason="to an upload")
    try:
        return orjson.loads(whole)
    except orjson.JSONDecodeError as error:
        raise UpstreamFault("ComfyUI's answer is not JSON.", reason=f"to an upload: {error}") from error


def _stored(wanted: FileRef, told: Any) -> FileRef:
    """The file under the name that ComfyUI found for it; the place is the one that was asked for."""
    name = told.get("name") if isinstance(told, dict) else None
    if not isinstance(name, str):
        raise UpstreamFault("ComfyUI did not say where it stored the file.", reason=repr(told)[:200])
    return FileRef.read(wanted.type, wanted.subfolder, name)
