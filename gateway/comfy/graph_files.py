"""The files that a workflow names, as its owner sees them and as the server has them.

It does not know which files exist: who calls says what a visible name is to this user. It does not know permissions
either; `graph_policy` does, and comes first.

- `visible` is what is stored and shown, `rooted` what ComfyUI gets. Names are made visible first and rooted once, so a
  graph from the history or from a picture runs again.
- What a server opens for any string lies below the root, or is shared or recorded, or the workflow is refused.
- `rooted(visible(g)) == rooted(g)` and `visible(rooted(g)) == visible(g)`, whenever `rooted` does not refuse.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import Any

from gateway.comfy import prefix
from gateway.comfy.files import USERS, FileRef, Root, annotated, folded
from gateway.comfy.inputs import Inputs, changed, unwrapped
from gateway.comfy.loose_names import rooted_names, visible_names
from gateway.comfy.node_class import NodeClass
from gateway.comfy.owner_tag import tagged, without_tag
from gateway.comfy.prefix import Place
from gateway.comfy.problems import Problem, node_errors
from gateway.comfy.roles import Read
from gateway.errors import FileNotAllowed

Prompt = Mapping[str, Any]
Classes = Mapping[str, NodeClass]


class Source(StrEnum):
    """What a file, by its visible name, is to this user."""

    OWN = "own"
    """It lies below the root."""
    SHARED = "shared"
    """An input that an administrator put at the top of the input folder for all."""
    RECORDED = "recorded"
    """Outside the root, and known to be this user's: temp and unconfined outputs keep their names."""
    ABSENT = "absent"
    """Unknown: it is looked for below the root, and not found there by ComfyUI itself."""


Exists = Callable[[FileRef], Source]


def visible(prompt: Prompt, classes: Classes, root: Root) -> dict[str, Any]:
    """The workflow without this user's root and tag in it, wherever a name is known to be one. Never raises."""
    return {
        node_id: {**node, "inputs": _visible_inputs(node["inputs"], classes.get(node["class_type"]), root)}
        for node_id, node in prompt.items()
    }


def rooted(prompt: Prompt, classes: Classes, root: Root, *, exists: Exists, strict: bool = True) -> dict[str, Any]:
    """The workflow that ComfyUI gets: files below the root, outputs without a prefix tagged.

    Not `strict`, which is for administrators, leaves wired file names, and paths given to packs, as they are. Raises
    FileNotAllowed, with every node that names a file it may not.
    """
    problems: list[Problem] = []
    nodes = _rooted_nodes(visible(prompt, classes, root), classes, _Rooting(root, exists, strict=strict), problems)
    if problems:
        raise FileNotAllowed(
            "The workflow names a file that is not yours.",
            details=f"{problems[0].message} (node {problems[0].node_id}, {problems[0].input})",
            node_errors=node_errors(prompt, problems),
        )
    return tagged(nodes, classes, root)


def read_files(prompt: Prompt, classes: Classes, root: Root) -> frozenset[FileRef]:
    """The visible names of all files that the workflow reads, so that they can be looked up before `rooted`."""
    found: set[FileRef] = set()

    def noted(ref: FileRef) -> Source:
        found.add(ref)
        return Source.ABSENT

    _rooted_nodes(visible(prompt, classes, root), classes, _Rooting(root, noted, strict=True), [])
    return frozenset(found)


def _visible_inputs(inputs: Inputs, class_: NodeClass | None, root: Root) -> Inputs:
    inputs = without_tag(inputs)
    if class_ is None:
        return inputs
    for name, read in class_.reads.items():
        inputs = changed(inputs, name, partial(_visible_name, read=read, root=root))
    # An optional prefix that is left out is ComfyUI's default, at the top of everybody's output folder.
    inputs = {**{name: text for name, text in class_.defaults.items() if "." not in name}, **inputs}
    for name, place in class_.writes.items():
        inputs = changed(inputs, name, partial(_visible_place, place=place))
    return _loose(inputs, class_, partial(visible_names, root=root)) if class_.pack else inputs


def _visible_name(value: Any, *, read: Read, root: Root) -> Any:
    text = unwrapped(value)
    if not isinstance(text, str):
        return value
    if _names_no_file(text, read):
        return text.strip()
    try:
        return root.stripped(annotated(text, default=read.default)).text(read.bare)
    except FileNotAllowed:
        return text


def _visible_place(value: Any, *, place: Place) -> Any:
    text = _text(value)
    return value if text is None else prefix.canonical(text, place)


def _text(value: Any) -> str | None:
    """What ComfyUI makes of a constant for a text input; numbers are written as it would write them."""
    inner = unwrapped(value)
    return str(inner) if isinstance(inner, str | int | float) else None


def _names_no_file(text: str, read: Read) -> bool:
    return not text.strip() or text.strip() in read.words


def _loose(inputs: Inputs, class_: NodeClass, change: Callable[[Any], Any]) -> Inputs:
    """Change the inputs that have no role."""
    heads = {name.partition(".")[0] for name in (*class_.reads, *class_.writes, *class_.models)}
    known = {*class_.reads, *class_.writes, *class_.models, *heads}
    return {name: value if name in known else change(value) for name, value in inputs.items()}


def _rooted_nodes(prompt: Prompt, classes: Classes, rooting: "_Rooting", problems: list[Problem]) -> dict[str, Any]:
    nodes = {}
    for node_id, node in prompt.items():
        class_ = classes.get(node["class_type"])
        inputs = rooting.inputs(node["inputs"], class_, partial(_note, problems, node_id)) if class_ else node["inputs"]
        nodes[node_id] = {**node, "inputs": inputs}
    return nodes


def _note(problems: list[Problem], node_id: str, name: str, refusal: FileNotAllowed) -> None:
    problems.append(Problem(node_id, name, FileNotAllowed.type, refusal.message, refusal.details))


Note = Callable[[str, FileNotAllowed], None]


class _Rooting:
    """One user's names on their way to the server."""

    def __init__(self, root: Root, exists: Exists, *, strict: bool) -> None:
        self._root, self._exists, self._strict = root, exists, strict

    def inputs(self, inputs: Inputs, class_: NodeClass, note: Note) -> Inputs:
        """The inputs of one node; what is refused goes to `note` and stays as it is."""
        for name, read in class_.reads.items():
            inputs = changed(inputs, name, self._noting(note, name, partial(self._name, read=read)))
        for name, place in class_.writes.items():
            inputs = changed(inputs, name, self._noting(note, name, partial(self._place, place=place)))
        if class_.pack:
            names = partial(rooted_names, root=self._root, placed=self._placed, strict=self._strict)
            inputs = _loose(inputs, class_, self._noting(note, "", names))
        return inputs

    def _noting(self, note: Note, name: str, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def noting(value: Any) -> Any:
            try:
                return change(value)
            except FileNotAllowed as refusal:
                note(name, refusal)
                return value

        return noting

    def _name(self, value: Any, *, read: Read) -> Any:
        text = unwrapped(value)
        if isinstance(text, list) and (read.wired or not self._strict):
            return value
        if not isinstance(text, str):
            raise _wired(value, "a file name")
        if _names_no_file(text, read):
            return text
        return self._placed(annotated(text, default=read.bare)).text(read.bare)

    def _place(self, value: Any, *, place: Place) -> Any:
        text = _text(value)
        if text is not None:
            return prefix.rooted(text, place, self._root)
        if isinstance(unwrapped(value), list) and not self._strict:
            return value
        raise _wired(value, "where to write")

    def _placed(self, ref: FileRef) -> FileRef:
        if self._root.names_another(ref):
            raise FileNotAllowed("This is the folder of another user.")
        source = self._exists(ref)
        if source in (Source.SHARED, Source.RECORDED):
            # Whatever the lookup says, what lies below the roots is only ever reached through one's own.
            if folded(ref.path.partition("/")[0]) == USERS:
                raise FileNotAllowed("This is the folder of another user.")
            return ref
        if source is Source.ABSENT and ref.type == "temp":
            raise FileNotAllowed("There is no such file.", details="Temporary files do not outlive the server.")
        return self._root.under(ref)


def _wired(value: Any, what: str) -> FileNotAllowed:
    """A link brings a text that nobody can check before the graph runs."""
    if isinstance(unwrapped(value), list):
        return FileNotAllowed(f"This input says {what} and may not come from another node.", details="Type it in.")
    return FileNotAllowed(f"This input says {what} and must be a text.")
