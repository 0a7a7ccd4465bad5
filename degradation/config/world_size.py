"""Whether a run is the same on several processes, or with its batch in parts."""

from degradation.config.schema import RunConfig
from degradation.config.validation import ConfigError


def check(config: RunConfig, size: int, parts: int = 1) -> None:
    """Refuse what `size` processes, or a batch in `parts`, would train as another network than one
    process does with the batch as a whole. Raises ConfigError.

    Batch normalisation looks at the images that are there together: only where it is asked to
    look at that many or fewer at a time (`model.ghost_batch_size`) do these numbers change nothing.
    """
    if size * parts == 1:
        return
    batch, ghost = config.recipe.batch_size, config.model.ghost_batch_size
    how = f"{size} processes" + (f" × machine.accumulate={parts}" if parts > 1 else "")
    if batch % (size * parts):
        raise ConfigError(
            f"recipe.batch_size={batch}: must be a multiple of {size * parts} ({how})"
        )
    own = batch // (size * parts)
    if config.model.norm and (ghost is None or own % ghost):
        raise ConfigError(
            f"model.ghost_batch_size={'null' if ghost is None else ghost}: {own} of the {batch} images are "
            f"together ({how}), and are normalised together;\nsay model.ghost_batch_size={own}, or a divisor "
            "of it: a run of its own, the same on any number of processes"
        )
