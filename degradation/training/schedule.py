"""The learning rate as a pure function of the iteration.

Two moments that only training can tell enter it. Sec. 4.2 trains the 110-layer net at 0.01 *until
the training error is below 80 %* and at 0.1 from then on: a condition, not a count, and the drops
stay where they are. Sec. 3.4 drops *when the error plateaus*: see Plateau.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from degradation.config.schema import Recipe


def warms_up(recipe: Recipe, depth: int) -> bool:
    """Whether a network of `depth` layers starts with the warm-up's learning rate."""
    return recipe.warmup_min_depth is not None and depth >= recipe.warmup_min_depth


@dataclass
class Plateau:
    """When the learning rate has dropped, by the rule of `recipe.plateau_patience`, row by row.

    The paper doesn't say which error it watched. Here it is the training error, so that the test
    set decides nothing; a row's mean over its minibatches, which many iterations between two rows
    make steady.
    """

    least: float | None = None
    """The least training error so far, in percent, since the last drop."""
    idle: int = 0
    """Rows without progress since then."""
    dropped: list[int] = field(default_factory=list)
    """Iterations from which the learning rate was lower."""

    def see(self, recipe: Recipe, iteration: int, train_error: float) -> None:
        """Take account of a row, after `iteration` iterations."""
        if recipe.plateau_patience is None:
            return
        if self.least is None or train_error <= self.least - recipe.plateau_threshold:
            self.least, self.idle = train_error, 0
            return
        self.idle += 1
        if self.idle == recipe.plateau_patience:
            self.dropped.append(iteration)
            self.least, self.idle = None, 0


def learning_rate(
    recipe: Recipe, iteration: int, warmup_end: int | None, dropped: Sequence[int] = ()
) -> float:
    """The learning rate of one iteration, counted from 0.

    `warmup_end` is the first iteration after the warm-up: 0 without one, None while it lasts;
    `dropped`: iterations from which a plateau has lowered it.
    """
    warm = warmup_end is None or iteration < warmup_end
    drops = sum(iteration >= drop for drop in (*recipe.milestones, *dropped))
    rate = recipe.warmup_lr if warm else recipe.lr
    for _ in range(drops):
        rate *= recipe.gamma
    # 0.1 · 0.1 is 0.01, not 0.010000000000000002.
    return float(f"{rate:.12g}")
