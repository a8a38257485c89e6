"""Config values are checked against the constructors they are for: the signature is the schema."""

import difflib
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beartype import BeartypeConf
from beartype.door import is_bearable
from hydra.utils import get_object
from omegaconf import OmegaConf

from ... import conf
from ..core.errors import UserError

LENIENT = BeartypeConf(is_pep484_tower=True)  # an int is a float
PLAIN = (int, float, str, bool, type(None))
UNIONS = (types.UnionType, typing.Union)


def check(node: Any, path: str = "") -> None:
    """Refuse every argument, at any depth, that its constructor does not know or that has another type."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            _check_arguments(node, path)
        for key, value in node.items():
            check(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            check(value, f"{path}[{i}]")


def check_added(overrides: Sequence[str], config: Mapping[str, Any], base: str) -> None:
    """Refuse a key that the command line adds by `+` and that nothing takes.

    Args:
        overrides: of the command line.
        config: what they have led to.
        base: the name of the config that they change.
    """
    for override in overrides:
        path = override.partition("=")[0]
        if not path.startswith("+") or set(path) & {"/", "@"}:
            continue
        *parents, key = path.lstrip("+").split(".")
        node: Any = config
        for parent in parents:
            node = node.get(parent, {}) if isinstance(node, Mapping) else {}
        takes = _arguments_of_open_ended(node) if parents else _first_level(base)
        if takes and key not in takes and not isinstance(node.get(key), Mapping):
            near = difflib.get_close_matches(key, takes | {*node} - {key}, 3) or sorted(takes)
            place = ".".join(parents) or "a config"
            raise UserError(f"{path} adds a key that nothing takes: {place} has {', '.join(near)}")


def _first_level(base: str) -> set[str]:
    """The keys of a config, and its groups."""
    folder = Path(conf.__file__).parent
    keys = map(str, OmegaConf.load(folder / f"{base}.yaml"))
    return {*keys, *(path.name for path in folder.iterdir() if path.is_dir())}


def _arguments_of_open_ended(node: Any) -> set[str]:
    """The arguments that a part of the lab names, where it accepts others too and so would not miss them."""
    target = node.get("_target_", "") if isinstance(node, Mapping) else ""
    if not target.startswith("sslab."):
        return set()
    parameters = inspect.signature(get_object(target)).parameters.values()
    named = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    return named if len(named) < len(parameters) else set()


def _check_arguments(node: Mapping[str, Any], path: str) -> None:
    target = get_object(node["_target_"])
    parameters = inspect.signature(target).parameters
    hints = _hints(target)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key, value in node.items():
        if key.startswith("_"):
            continue
        if key not in parameters and not open_ended:
            near = difflib.get_close_matches(key, parameters, 3) or list(parameters)
            raise UserError(f"{path}.{key} is no argument of {node['_target_']}: it takes {', '.join(near)}")
        if key not in hints:
            continue
        if isinstance(value, Mapping) and "_target_" in value and _is_plain(hints[key]):
            part = value["_target_"].rsplit(".", 1)[-1]
            raise UserError(f"{path}.{key} cannot be a part like {part}: expected {_spell(hints[key])}")
        if not _has_target(value) and not is_bearable(value, hints[key], conf=LENIENT):
            raise UserError(f"{path}.{key}={value!r} is of the wrong type: expected {_spell(hints[key])}")


def _hints(target: Any) -> dict[str, Any]:
    """Annotations of the constructor; a NamedTuple has its own on the class."""
    source = target.__init__ if inspect.isclass(target) and not hasattr(target, "_fields") else target
    try:
        return typing.get_type_hints(source)
    except NameError:  # some libraries name types that they import only for type checkers
        return {}


def _is_plain(hint: Any) -> bool:
    """Tell whether all that fits are numbers, strings and None."""
    return hint in PLAIN or typing.get_origin(hint) in UNIONS and all(map(_is_plain, typing.get_args(hint)))


def _has_target(value: Any) -> bool:
    """Tell whether `value` stands for objects to build, whose type is not known yet."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_has_target, value.values()))
    return isinstance(value, list) and any(map(_has_target, value))


def _spell(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")
