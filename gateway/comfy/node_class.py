"""A node class as far as files, models and the execution cache are concerned, from its entry in object_info.

It does not know who may use the class, nor a workflow.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.comfy import roles
from gateway.comfy.files import FileType
from gateway.comfy.prefix import DEFAULT_NAME, Place
from gateway.comfy.roles import Read

CORE_MODULES = ("nodes", "comfy_extras", "comfy_api_nodes")
SHIPPED_PACKS = frozenset({"websocket_image_save"})
"""Packs in custom_nodes that ComfyUI itself ships."""
UNKNOWN_PACK = "?"
"""The pack of a class whose entry does not say where it comes from, which no pack's directory is called."""

_DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"


@dataclass(frozen=True, slots=True)
class NodeClass:
    """One class. The keys of `reads`, `writes`, `models` are input names, `a.b` for what lies inside the input `a`."""

    name: str
    pack: str = ""
    """"" for ComfyUI's own, else the directory of the custom pack."""
    output: bool = False
    """Whether it can put files into the answer: an output node, or one with intermediate outputs."""
    loader: bool = False
    """Whether it gives out weights."""
    denied: bool = False
    """Whether it reads or writes whole folders."""
    reads: Mapping[str, Read] = field(default_factory=dict)
    writes: Mapping[str, Place] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    """What ComfyUI writes to when an optional prefix is left out."""
    unclear: tuple[str, ...] = ()
    """Inputs of ComfyUI's own class that may name files and are not in the table."""

    @property
    def confined(self) -> bool:
        """Whether an input carries the user's root whenever the node writes, so that no two users' inputs are equal."""
        return any(place is not Place.NAME for place in self.writes.values())

    @property
    def taggable(self) -> bool:
        """Whether ComfyUI surely keeps an input from it that it did not declare."""
        return not self.pack and not self.loader and self.name not in roles.TAKES_ANYTHING


@dataclass(frozen=True, slots=True)
class Spec:
    """One declared input: `exact` is whether a workflow writes it under this very name, `path` where it stands in the
    entry."""

    name: str
    type: str
    options: Mapping[str, Any]
    optional: bool
    exact: bool
    path: tuple[str | int, ...]

    @property
    def names_file(self) -> bool:
        """Whether it says itself that it names a file."""
        return _is_remote(self) or any(
            value for key, value in self.options.items() if key.endswith("_upload") or key == "image_folder"
        )


def describe(entry: Mapping[str, Any]) -> NodeClass:
    """Read one value of GET /object_info. Never raises; what is not understood counts as a pack's."""
    name, pack = str(entry.get("name", "")), _pack(entry.get("python_module"))
    declared = tuple(specs(entry))
    reads = {**_flagged(declared), **(roles.PACK_READS if pack else roles.READS).get(name, {})}
    known = (roles.PACK_WRITES if pack else roles.WRITES).get(name, {})
    writes = {**{spec.name: Place.PREFIX for spec in declared if _last(spec.name) == roles.PREFIX_NAME}, **known}
    models = {spec.name: folder for spec in declared if (folder := _model_folder(name, spec.name))}
    handled = reads.keys() | writes.keys() | models.keys()
    return NodeClass(
        name=name,
        pack=pack,
        output=bool(entry.get("output_node") or entry.get("has_intermediate_output")),
        loader=bool(models) or not roles.WEIGHTS.isdisjoint(_texts(entry.get("output"))),
        denied=not pack and name in roles.DENIED,
        reads=reads,
        writes=writes,
        models=models,
        defaults={spec.name: _default(spec) for spec in declared if spec.optional and spec.name in writes},
        unclear=() if pack else tuple(spec.name for spec in declared if _is_unclear(name, spec, handled)),
    )


def replaced(name: str) -> NodeClass | None:
    """A class that the server lacks, but turns into one of its own; None for any other."""
    if name not in roles.REPLACED:
        return None
    return NodeClass(name=name, reads=roles.READS.get(name, {}), models=roles.MODELS)


def _pack(module: Any) -> str:
    head, _, rest = module.partition(".") if isinstance(module, str) else ("", "", "")
    if head in CORE_MODULES or (head == "custom_nodes" and rest in SHIPPED_PACKS):
        return ""
    return rest if head == "custom_nodes" and rest else UNKNOWN_PACK


def specs(entry: Mapping[str, Any]) -> Iterator[Spec]:
    """Every declared input of a class, those inside dynamic inputs too."""
    return _specs(entry.get("input"), path=("input",))


def _specs(inputs: Any, *, path: tuple[str | int, ...], outer: str = "", exact: bool = True) -> Iterator[Spec]:
    for section in ("required", "optional"):
        for name, spec in _object(_object(inputs).get(section)).items():
            if isinstance(spec, list) and spec:
                options = _object(spec[1]) if len(spec) > 1 else {}
                type_ = spec[0] if isinstance(spec[0], str) else "COMBO"
                found = Spec(outer + name, type_, options, section == "optional", exact, path=(*path, section, name))
                yield found
                yield from _inner(found)


def _inner(spec: Spec) -> Iterator[Spec]:
    """A choice of a dynamic combo has inputs `name.inner`; other dynamic inputs number theirs, in their own ways."""
    choices, outer, path = spec.options.get("options"), f"{spec.name}.", (*spec.path, 1)
    for number, choice in enumerate(choices if isinstance(choices, list) else ()):
        inner, exact = _object(choice).get("inputs"), spec.exact and spec.type == _DYNAMIC_COMBO
        yield from _specs(inner, path=(*path, "options", number, "inputs"), outer=outer, exact=exact)
    for key, inner in spec.options.items():
        yield from _specs(inner, path=(*path, key), outer=outer, exact=False)
        yield from _specs(_object(inner).get("input"), path=(*path, key, "input"), outer=outer, exact=False)


def _flagged(declared: tuple[Spec, ...]) -> dict[str, Read]:
    """Inputs that say themselves that they name a file."""
    return {spec.name: Read(default=_folder(spec)) for spec in declared if spec.names_file and spec.exact}


def _is_remote(spec: Spec) -> bool:
    return str(_object(spec.options.get("remote")).get("route")).startswith("/internal/files/")


def _folder(spec: Spec) -> FileType:
    named = spec.options.get("image_folder")
    route = str(_object(spec.options.get("remote")).get("route"))
    found: tuple[FileType, ...] = ("output", "temp")
    return next((type_ for type_ in found if named == type_ or route.endswith(f"/files/{type_}")), "input")


def _is_unclear(class_name: str, spec: Spec, handled: Any) -> bool:
    looks = _last(spec.name) in roles.SUSPECT_NAMES or spec.type in roles.SUSPECT_TYPES or spec.names_file
    covered = spec.name in handled and (spec.exact or spec.name in roles.READS.get(class_name, {}))
    inside = any(name.startswith(f"{spec.name}.") for name in roles.READS.get(class_name, {}))
    return looks and not covered and not inside and (class_name, spec.name) not in roles.NOT_FILES


def _model_folder(class_name: str, input_name: str) -> str | None:
    own = roles.CLASS_MODELS.get(class_name, {}).get(input_name)
    return own or roles.MODELS.get(_last(input_name))


def _default(spec: Spec) -> str:
    default = spec.options.get("default")
    return default if isinstance(default, str) else DEFAULT_NAME


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
