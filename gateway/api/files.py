"""The caller's own files: listed in pages, and deleted. It does not know where they lie, nor that others have any.

What is another's cannot even be named: every name is looked for below the caller's own root.
"""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from gateway.api.shapes import Deleted, Error, File, Files, KeptFile, Names, StorageUse
from gateway.comfy.files import FileRef, FileType
from gateway.comfy.query import query_values
from gateway.errors import InvalidRequest, NotFound
from gateway.identity.authenticator import Authenticator
from gateway.identity.credentials import without_token
from gateway.identity.principal import Principal
from gateway.policy.access import require
from gateway.policy.allowance import Allowance
from gateway.policy.origin import may_be_forged, require_json
from gateway.store import data_directory
from gateway.store.storage import Storage

PATH: Final = "/gateway/api/v1/files"
_REFUSED: Final[dict[int | str, dict[str, Any]]] = {status: {"model": Error} for status in (400, 401, 403, 404, 503)}

Caller = Callable[[Request], Awaitable[Principal]]


def files_router(
    *, authenticator: Authenticator, storage: Storage, allowance_of: Callable[[Principal], Allowance], newest: int
) -> APIRouter:
    """The routes. `newest` is how many jobs are looked through for outputs where the files cannot be seen."""
    routes = APIRouter()

    async def caller(request: Request) -> Principal:
        # Two parameters of one name would be read in two ways.
        query_values(without_token(request.scope["query_string"]))
        return await authenticator.authenticate(request.scope)

    _add_list(routes, caller, storage, allowance_of=allowance_of, newest=newest)
    _add_delete(routes, caller, storage)
    _add_delete_list(routes, caller, storage)
    return routes


def _add_list(
    routes: APIRouter,
    caller: Caller,
    storage: Storage,
    *,
    allowance_of: Callable[[Principal], Allowance],
    newest: int,
) -> None:
    async def files(
        response: Response,
        principal: Annotated[Principal, Depends(caller)],
        type: Annotated[FileType | None, Query(description="Only files of this kind.")] = None,
        subfolder: Annotated[str | None, Query(description="Only files in this folder; empty for the top.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="Files on a page.")] = 100,
        cursor: Annotated[str | None, Query(max_length=4096, description="`next` of the page before.")] = None,
    ) -> Files:
        """The caller's own files, newest first.

        Where the gateway cannot see ComfyUI's data directory, these are the uploads and the outputs of the newest
        jobs, without sizes of the latter.
        """
        require(principal, "read")
        response.headers["Cache-Control"] = "no-store"
        found = await storage.files(principal.user_id, newest=newest)
        wanted = [kept for kept in found if type in (None, kept.ref.type) and subfolder in (None, kept.ref.subfolder)]
        start = 0 if cursor is None else bisect_right(wanted, _place(cursor), key=data_directory.order)
        page = wanted[start : start + limit]
        return Files(
            files=[_shown(kept) for kept in page],
            total=len(wanted),
            next=_cursor(page[-1]) if start + limit < len(wanted) else None,
            storage=await _use(storage, principal, allowance_of(principal)),
        )

    routes.add_api_route(PATH, files, methods=["GET"], responses=_REFUSED, tags=["files"])


def _add_delete(routes: APIRouter, caller: Caller, storage: Storage) -> None:
    async def delete(
        principal: Annotated[Principal, Depends(caller)],
        type: Annotated[FileType, Query(description="Where the file is.")],
        filename: Annotated[str, Query(description="Its name, without folders.")],
        subfolder: Annotated[str, Query(description="Its folder; empty for the top.")] = "",
    ) -> Response:
        """Delete one of the caller's own files."""
        require(principal, "submit")
        if not await storage.delete(principal.user_id, [FileRef.read(type, subfolder, filename)]):
            raise NotFound("There is no such file.")
        return Response(status_code=204)

    routes.add_api_route(PATH, delete, methods=["DELETE"], status_code=204, responses=_REFUSED, tags=["files"])


def _add_delete_list(routes: APIRouter, caller: Caller, storage: Storage) -> None:
    async def json_caller(request: Request, principal: Annotated[Principal, Depends(caller)]) -> Principal:
        if may_be_forged(principal, request.scope["headers"]):
            require_json(request.scope["headers"])
        return principal

    async def delete_list(names: Names, principal: Annotated[Principal, Depends(json_caller)]) -> Deleted:
        """Delete several of the caller's own files. One name that is no name of a file refuses them all."""
        require(principal, "submit")
        refs = {name: FileRef.read(*name) for name in _distinct(names.files)}
        gone = await storage.delete(principal.user_id, list(refs.values()))
        return Deleted(
            deleted=[_file(ref) for ref in refs.values() if ref in gone],
            missing=[_file(ref) for ref in refs.values() if ref not in gone],
        )

    responses = {**_REFUSED, 415: {"model": Error}}
    routes.add_api_route(f"{PATH}/delete", delete_list, methods=["POST"], responses=responses, tags=["files"])


def _distinct(files: Sequence[File]) -> dict[tuple[str, str, str], None]:
    return dict.fromkeys((file.type, file.subfolder, file.filename) for file in files)


async def _use(storage: Storage, principal: Principal, allowance: Allowance) -> StorageUse | None:
    if not storage.mounted:
        return None
    return StorageUse(used=await storage.kept(principal.user_id), limit=allowance.kept)


def _shown(kept: data_directory.KeptFile) -> KeptFile:
    ref = kept.ref
    return KeptFile(
        type=ref.type, subfolder=ref.subfolder, filename=ref.filename, size=kept.size, modified=kept.modified
    )


def _file(ref: FileRef) -> File:
    return File(type=ref.type, subfolder=ref.subfolder, filename=ref.filename)


def _cursor(kept: data_directory.KeptFile) -> str:
    """Where a page ended; what is made or deleted before it moves nothing after it."""
    return base64.urlsafe_b64encode(orjson.dumps(data_directory.order(kept))).decode()


def _place(cursor: str) -> tuple[float, str, str]:
    """Where a page begins. Raises InvalidRequest for what is no cursor of ours."""
    try:
        time, type_, path = orjson.loads(base64.urlsafe_b64decode(cursor))
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidRequest("This cursor is none of this list.") from error
    if not (isinstance(time, float) and isinstance(type_, str) and isinstance(path, str)):
        raise InvalidRequest("This cursor is none of this list.")
    return time, type_, path
