"""GET /object_info as one user sees it: only classes that the role may use, and in every file picker one's own files.

It does not know the role nor whose files are whose: both come in. Every string that a picker had before and has not
any more is gone from the whole input, its default included.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from gateway.comfy.files import USERS, FileType, folded, is_root
from gateway.comfy.node_class import NodeClass, Spec, describe, specs
from gateway.comfy.pickers import OwnNames, media_of
from gateway.comfy.prefix import Place

Allowed = Callable[[NodeClass], bool]
ModelAllowed = Callable[[str, str], bool]
"""By model folder and name."""

NO_MODEL: Final = ("", "none")
"""Choices of a model picker that load nothing, such as "[None]"."""


class Lists(Enum):
    """What the choices of an input are."""

    FILES = auto()
    FOLDERS = auto()
    """Folders of the input folder."""
    MODELS = auto()
    ANYTHING = auto()
    """Whatever a custom pack fills in, which may be files that it finds in the input folder."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One input with choices, at `path` in its class's entry."""

    path: tuple[str | int, ...]
    lists: Lists
    media: tuple[str, ...] = ()
    folder: FileType = "input"
    words: frozenset[str] = frozenset()
    """Choices that name no file."""
    models: str = ""
    """The model folder."""


@dataclass(frozen=True, slots=True)
class NodeList:
    """What a server says of its classes, read once: the entries by name, what each means, and where its choices are."""

    entries: Mapping[str, Mapping[str, Any]]
    classes: Mapping[str, NodeClass]
    spots: Mapping[str, tuple[Spot, ...]]
    listed: frozenset[str]
    """The names of files, anybody's, that pickers of ComfyUI's own classes list."""

    def only(self, name: str) -> "NodeList":
        """The same with this class alone, or none."""
        return NodeList(_only(self.entries, name), _only(self.classes, name), self.spots, self.listed)


EMPTY: Final = NodeList({}, {}, {}, frozenset())


def read(object_info: Mapping[str, Any], *, before: NodeList = EMPTY) -> NodeList:
    """Understand an answer of GET /object_info. What has not changed since `before` is taken from there: reading 1,700
    classes takes a quarter of a second, and from one answer to the next only some pickers change."""
    entries = {name: entry for name, entry in object_info.items() if isinstance(entry, dict)}
    classes, spots = {}, {}
    for name, entry in entries.items():
        same = before.entries.get(name) == entry
        classes[name] = before.classes[name] if same else describe(entry)
        spots[name] = before.spots[name] if same else tuple(_spots(classes[name], entry))
    return NodeList(entries, classes, spots, frozenset(_listed(entries, classes, spots)))


def for_user(nodes: NodeList, own: OwnNames, *, allowed: Allowed, model_allowed: ModelAllowed) -> dict[str, Any]:
    """The answer for one user, in the server's order. Entries that need no change are those of `nodes` themselves."""
    view = _View(own, model_allowed, nodes.listed)
    return {
        name: _rewritten(entry, nodes.spots[name], view)
        for name, entry in nodes.entries.items()
        if allowed(nodes.classes[name])
    }


def _only(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: found[name]} if name in found else {}


def _spots(class_: NodeClass, entry: Mapping[str, Any]) -> Iterable[Spot]:
    for spec in specs(entry):
        choices = _choices(_at(entry, spec.path))
        if choices is not None and (spot := _spot(class_, spec)):
            yield spot


def _spot(class_: NodeClass, spec: Spec) -> Spot | None:
    read_ = class_.reads.get(spec.name)
    if read_ or spec.names_file or spec.name in class_.unclear:
        folder: FileType = read_.default if read_ else "input"
        words = read_.words if read_ else frozenset[str]()
        return Spot(spec.path, Lists.FILES, media_of(class_.name, spec.options), folder, words)
    if class_.writes.get(spec.name) is Place.FOLDER:
        return Spot(spec.path, Lists.FOLDERS)
    if spec.name in class_.models:
        return Spot(spec.path, Lists.MODELS, models=class_.models[spec.name])
    return Spot(spec.path, Lists.ANYTHING) if class_.pack else None


def _listed(
    entries: Mapping[str, Any], classes: Mapping[str, NodeClass], spots: Mapping[str, tuple[Spot, ...]]
) -> Iterable[str]:
    for name, entry in entries.items():
        for spot in spots[name] if not classes[name].pack else ():
            if spot.lists is Lists.FILES:
                choices = _choices(_at(entry, spot.path)) or ()
                yield from (choice for choice in choices if isinstance(choice, str) and choice not in spot.words)


@dataclass(frozen=True, slots=True)
class _View:
    """What one user's choices are made of."""

    own: OwnNames
    model_allowed: ModelAllowed
    listed: frozenset[str]

    def choices(self, spot: Spot, found: Sequence[Any]) -> list[Any]:
        if spot.lists is Lists.FILES:
            return [*_words(found, spot.words), *self.own.listed(spot.media, spot.folder)]
        if spot.lists is Lists.FOLDERS:
            return list(self.own.folders())
        if spot.lists is Lists.MODELS:
            return [name for name in found if self._may_load(spot.models, name)]
        return [name for name in found if not self._is_anothers(name)]

    def _may_load(self, folder: str, name: Any) -> bool:
        if not isinstance(name, str) or name.strip().strip("[]").casefold() in NO_MODEL:
            return True
        return self.model_allowed(folder, name)

    def _is_anothers(self, name: Any) -> bool:
        if not isinstance(name, str):
            return False
        segments = name.replace("\\", "/").split("/")
        in_users = folded(segments[0]) == USERS and (len(segments) == 1 or is_root(segments[:2]))
        return in_users or (name in self.listed and name not in self.own.inputs)


def _words(found: Iterable[Any], words: Collection[str]) -> list[Any]:
    return [choice for choice in found if isinstance(choice, str) and choice in words]


def _rewritten(entry: Mapping[str, Any], spots: tuple[Spot, ...], view: _View) -> Mapping[str, Any]:
    for spot in spots:
        spec = _at(entry, spot.path)
        found = _choices(spec) or []
        chosen = view.choices(spot, found)
        if chosen != found:
            entry = _put(entry, spot.path, _with_choices(spec, found, chosen))
    return entry


def _choices(spec: Any) -> list[Any] | None:
    """Both forms of an input with choices: `[[…], {…}]` and `["COMBO", {"options": […]}]`; None for any other.

    The choices of a dynamic combo are objects, with inputs of their own.
    """
    if isinstance(spec[0], list):
        return list(spec[0])
    options = spec[1].get("options") if len(spec) > 1 and isinstance(spec[1], dict) else None
    plain = isinstance(options, list) and not any(isinstance(option, dict) for option in options)
    return options if plain else None


def _with_choices(spec: list[Any], found: list[Any], chosen: list[Any]) -> list[Any]:
    gone = _texts(found) - _texts(chosen)
    first = chosen if isinstance(spec[0], list) else spec[0]
    return [first, *(_without(part, gone, chosen) for part in spec[1:])]


def _texts(choices: Iterable[Any]) -> set[str]:
    return {choice for choice in choices if isinstance(choice, str)}


def _without(settings: Any, gone: set[str], chosen: list[Any]) -> Any:
    if not isinstance(settings, dict):
        return None if _mentions(settings, gone) else settings
    return {
        key: chosen if key == "options" else value
        for key, value in settings.items()
        if key == "options" or not _mentions(value, gone)
    }


def _mentions(value: Any, gone: set[str]) -> bool:
    if isinstance(value, str):
        return value in gone
    if isinstance(value, dict):
        return any(_mentions(item, gone) for pair in value.items() for item in pair)
    return isinstance(value, list) and any(_mentions(item, gone) for item in value)


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _put(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """The value with something else at the path; what is not on the way is shared."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    changed = _put(value[step], rest, new)
    if isinstance(value, list):
        return [changed if number == step else item for number, item in enumerate(value)]
    return {**value, step: changed}
