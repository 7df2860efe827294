"""Whose a file is, from what is known of it, and where it lies on the server.

It does not know how that was found out. What is another's gets the very answer of what does not exist.
"""

from collections.abc import Collection

from gateway.comfy.files import USERS, FileRef, NotOurs, Root, folded
from gateway.comfy.graph_files import Source


def source_of(
    ref: FileRef, *, recorded: Collection[FileRef], uploaded: Collection[FileRef], shared: Collection[str]
) -> Source:
    """What a visible name is to a user, whose `recorded` files and `uploaded` ones these are.

    `shared` are the names at the top of the input folder that everybody may read; one's own file of the same name comes
    before.
    """
    # A job makes no inputs: an output that names one would give away what an administrator put there.
    if ref in recorded and ref.type != "input":
        return Source.RECORDED
    if ref in uploaded:
        return Source.OWN
    if ref.type == "input" and not ref.subfolder and ref.filename in shared:
        return Source.SHARED
    return Source.ABSENT


def placed(ref: FileRef, source: Source, root: Root) -> FileRef:
    """The file as the server names it. Raises NotOurs for what this user cannot have."""
    if source in (Source.RECORDED, Source.SHARED):
        # Whatever the records say, what lies below the roots is only ever reached through one's own.
        if folded(ref.path.partition("/")[0]) == USERS:
            raise NotOurs(ref)
        return ref
    # The top of temp is everybody's: a name there is somebody's by its record, or it is nobody's.
    if source is Source.ABSENT and ref.type == "temp":
        raise NotOurs(ref)
    return root.under(ref)
