"""Whether a point is the same on several processes, or with its batch in parts."""

from degradation.config.schema import Point
from degradation.config.validation import Invalid


def check(point: Point, size: int, parts: int = 1) -> None:
    """Refuse what `size` processes, or a batch in `parts`, would train as another network than one
    process does with the batch as a whole. Raises Invalid.

    Batch normalisation looks at the pictures that are there together: only where it is asked to
    look at that many or fewer at a time (`model.ghost`) do these numbers change nothing.
    """
    if size * parts == 1:
        return
    batch, ghost = point.recipe.batch, point.model.ghost
    how = f"{size} processes" + (f" × machine.accumulate={parts}" if parts > 1 else "")
    if batch % (size * parts):
        raise Invalid(f"recipe.batch={batch}: must be a multiple of {size * parts} ({how})")
    own = batch // (size * parts)
    if point.model.norm and (ghost is None or own % ghost):
        raise Invalid(
            f"model.ghost={'null' if ghost is None else ghost}: {own} of the {batch} pictures are "
            f"together ({how}), and are normalised together;\nsay model.ghost={own}, or a divisor "
            "of it: a point of its own, the same on any number of processes"
        )
