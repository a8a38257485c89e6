"""The pairs of views that are compared."""

from ...core.errors import UserError
from ...core.step import Step, pairs


def directions(step: Step) -> list[tuple[int, int]]:
    """Every pair of a query's view and another view's target, of which there must be one."""
    found = list(pairs(step))
    if not found:
        raise UserError(
            f"queries of views {list(step.q)} and targets of views {list(step.k)} make no pair of "
            "different views: set views.count to 2 or more, or other online_views and target_views"
        )
    return found


def mirrored(step: Step) -> bool:
    """True if queries are their own targets, so that (a, b) and (b, a) compare the same embeddings."""
    return len(step.q) == len(step.k) and all(step.k.get(view) is q for view, q in step.q.items())
