"""The members that each kind of part must have, checked when a run is built."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar

from torch import Tensor, nn
from typing_extensions import get_protocol_members

from .errors import UserError
from .step import Batch, Features, Step, View

Method = TypeVar("Method", bound=Callable[..., Any])


def optional(method: Method) -> Method:
    """Mark a method of a contract that a part may leave out; its body is what happens then."""
    method.optional = True  # pyright: ignore[reportFunctionMemberAccess]
    return method


class Backbone(Protocol):
    """A module from images to features. Members with a value may be left out."""

    dim: int  # length of `pooled`
    trunk: nn.Module  # the part whose weights are saved and loaded
    dense_dim: int | None = None  # channels of `dense`; None: `dim`
    dense: Literal["last", "previous"] = "last"  # the stage that `dense` is of
    stem: Literal["trained", "whitened"] = "trained"  # its first convolution; see ssl/model/stem.py
    convolutional: bool = True  # whether it is one of convolutions or of attention, which have rates of their own

    def __call__(self, image: Tensor) -> Features: ...

    @optional
    def check(self, height: int, width: int) -> None:
        """Refuse views of this size."""


class Head(Protocol):
    """A module from features to embeddings: a tensor, or a dict of named ones."""

    dim: Any  # length of an embedding, by name where there are several
    scores: Any = False  # whether embeddings are scores of prototypes
    map_only: bool = False  # whether it sees the map of features alone

    def __call__(self, features: Features) -> Any: ...


class Predictor(Protocol):
    """A module from embeddings to queries."""

    def __call__(self, z: Any) -> Any: ...


class Teacher(Protocol):
    """A module from views and online embeddings to targets."""

    shared: bool  # whether targets are made of the online embeddings

    def __call__(self, views: dict[int, View], z: dict[int, Any]) -> dict[int, Any]: ...

    @optional
    def update(self, encoder: nn.Module, progress: float) -> None:
        """Follow the encoder after a step of the optimiser."""


class LatentPart(Protocol):
    """A module from a step to the step that the loss, or the next part, sees."""

    def __call__(self, step: Step) -> Step: ...

    @optional
    def rehearse(self, step: Step) -> Step:
        """Return what the part would make of a step of noise, before training begins."""
        return self(step)


class Loss(Protocol):
    """A module from a step to its loss: this process's share of it, and named terms to log."""

    def __call__(self, step: Step) -> Any: ...


class ViewSource(Protocol):
    """A callable from a batch to views of it."""

    count: int  # of the views
    sides: set[int]  # of the views, in pixels
    targets: Sequence[int]  # numbers of the views that are targets if nothing else is said
    mean: Sequence[float]  # of the channels, that images are normalised by
    std: Sequence[float]

    def __call__(self, batch: Batch) -> tuple[View, ...]: ...


def fulfil(part: Any, contract: type, path: str) -> Any:
    """Return the part with the contract's values for the members that it leaves out.

    Raises:
        UserError: members without a value are missing; the one line names all of them.
    """
    defaults = {name: value for name, value in vars(contract).items() if not name.startswith("_")}
    missing = [name for name in sorted(get_protocol_members(contract)) if not _has(part, name)]
    given = {name: defaults[name] for name in missing if name in defaults and _may_be_left_out(defaults[name])}
    call = "forward" if isinstance(part, nn.Module) else "__call__"
    if needed := [call if name == "__call__" else name for name in missing if name not in given]:
        raise UserError(
            f"{path}: {type(part).__name__} lacks {', '.join(needed)}; sslab.ssl.core.contracts.{contract.__name__} "
            "says what each is"
        )
    for name, value in given.items():
        setattr(part, name, value.__get__(part) if callable(value) else value)
    return part


def _has(part: Any, name: str) -> bool:
    if name == "__call__" and isinstance(part, nn.Module):
        return type(part).forward is not nn.Module.forward
    return hasattr(part, name)


def _may_be_left_out(default: Any) -> bool:
    return not callable(default) or hasattr(default, "optional")
