"""Whether a run is the same on several processes."""

from degradation.config.schema import RunConfig
from degradation.config.validation import ConfigError


def check(config: RunConfig, size: int) -> None:
    """Refuse what `size` processes would train as another network than one process does.

    Batch normalization looks at the images that are there together: only where it is asked to look
    at that many or fewer at a time (`model.ghost_batch_size`) does their number change nothing.
    Raises ConfigError.
    """
    if size == 1:
        return
    batch, ghost = config.recipe.batch_size, config.model.ghost_batch_size
    if batch % size:
        raise ConfigError(
            f"recipe.batch_size={batch}: must be a multiple of {size}, for {size} processes"
        )
    share = batch // size
    if config.model.norm and (ghost is None or share % ghost):
        given = "null" if ghost is None else ghost
        raise ConfigError(
            f"model.ghost_batch_size={given}: each of {size} processes has {share} of the {batch} "
            f"images, and normalizes those together;\ngive model.ghost_batch_size={share}, or a "
            "divisor of it: a run of its own, the same on any number of processes"
        )
