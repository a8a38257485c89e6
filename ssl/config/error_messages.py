"""Errors as one line for the user, or None where the user cannot mend them."""

import difflib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ..core.errors import UserError


@contextmanager
def one_line_errors(primary: str = "config") -> Iterator[None]:
    """Leave with status 2 and that line, unless there is `debug=true`; `primary` is the config that was composed."""
    try:
        yield
    except Exception as error:
        line = None if "debug=true" in sys.argv else explain(error, primary)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)


def explain(error: BaseException | None, primary: str = "config") -> str | None:
    while error is not None:
        line = _explain(error, primary)
        if line is not None:
            return line
        error = error.__cause__ or error.__context__
    return None


def _explain(error: BaseException, primary: str) -> str | None:
    match error:
        case UserError():
            return str(error)
        case MissingConfigException(missing_cfg_file=str() as file) if "/" in file:
            group, choice = file.rsplit("/", 1)
            options = list(error.options or _choices(group))  # which Hydra does not name where several were chosen
            return f"{group}={choice} is no choice: {_near(choice, options)}; there are {', '.join(options)}"
        case OverrideParseException():
            return f"cannot read {error.override!r}: an override is written key=value"
        case ConfigCompositionException():
            return _key(str(error) + str(error.__cause__ or ""), primary)
        case MissingMandatoryValue():
            key = getattr(error, "full_key", None) or re.findall(r"[\w.]+", str(error))[-1]
            return f"{key} has no value: set {key}=…"
        case ModuleNotFoundError() if not str(error.name).startswith("sslab"):
            return f"{str(error).splitlines()[0]}: pip install it, or choose another part"
        case ValueError() if str(error).startswith("Config group override must be"):
            return "null is no choice: give the name of one, or none where there is that"
        case HydraException() | OmegaConfBaseException() if error.__cause__ is None:
            return str(error).splitlines()[0]
    return None


def _key(message: str, primary: str) -> str:
    """A key or group that no part of the config has."""
    quoted = re.search(r"Could not (?:override|find) '([^']+)'|full_key: (\S+)", message)
    if quoted is None:
        return message.splitlines()[0]
    key = next(k for k in quoted.groups() if k)
    known, group = sorted(set(_default_keys(primary))), key.split(".")[0]
    if not any(k.startswith(f"{group}.") for k in known) and (choices := _choices(group)):  # by default none is chosen
        return f"no key {key}: {group} has the keys of what is chosen by {group}=…, one of {', '.join(choices)}"
    leaf = [k for k in known if k.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    return f"there is no key {key}: {_near(key, known, leaf)}; `--help` lists the choices"


def _choices(group: str) -> list[str]:
    with initialize_config_module("sslab.conf", version_base="1.3"):
        return GlobalHydra.instance().config_loader().get_group_options(group)


def _near(word: str, known: list[str], first: list[str] | None = None) -> str:
    close = [*(first or []), *difflib.get_close_matches(word, known, 3, cutoff=0.5)][:3]
    return f"did you mean {' or '.join(dict.fromkeys(close))}?" if close else "nothing is near"


def _default_keys(primary: str) -> Iterator[str]:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        yield from _keys(OmegaConf.to_container(compose(primary), resolve=False), "")


def _keys(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            name = f"{path}.{key}" if path else str(key)
            yield name
            yield from _keys(value, name)
