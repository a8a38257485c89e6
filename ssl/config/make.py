"""Objects from the nodes of a config that describe them."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import get_object

from ..core.draws import mix
from ..core.errors import UserError


def make(node: Mapping[str, Any], seed: int | None = None, **facts: Any) -> Any:
    """The part that `node` describes, after the parts inside it.

    A constructor receives those `facts` that it names and its node leaves out. A fact that heads have by name goes to
    the part of the same name.
    """
    if "_target_" not in node:
        raise UserError(f"{', '.join(node)} is set for a part that is not chosen: choose it, or leave its settings out")
    target = get_object(node["_target_"])
    accepted = inspect.signature(target).parameters
    if seed is not None:
        torch.manual_seed(seed)
        facts["seed"] = seed
    given = {k: v for k, v in facts.items() if k in accepted and node.get(k) is None}
    for name in [k for k, v in given.items() if isinstance(v, Mapping)]:
        by_head = given.pop(name)
        if accepted[name].default is inspect.Parameter.empty:
            raise UserError(f"{target.__name__} is for one head, but there are {', '.join(by_head)}: give each its own")
    return target(**{k: _made(v, facts) for k, v in node.items() if k != "_target_"} | given)


def _made(value: Any, facts: Mapping[str, Any]) -> Any:
    """A config value with its nodes replaced by the parts that they describe."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return make(value, **facts)
        return {name: _made(v, _own(facts, name, i)) for i, (name, v) in enumerate(value.items())}
    return [_made(v, facts) for v in value] if isinstance(value, list) else value


def _own(facts: Mapping[str, Any], name: str, number: int) -> dict[str, Any]:
    """The facts for one of several named parts: a seed of its own, and what is known of the head of its name."""
    own = {k: v.get(name, v) if isinstance(v, Mapping) else v for k, v in facts.items()}
    return own | {"seed": mix(facts["seed"], number)} if "seed" in facts else own
