"""What a run varies beside arm, depth and seed, and whether it belongs to a side study.

Runs of a side study never enter the paper's figures and tables. Those are the runs of a protocol

    whose shortcuts are scaled (`model.alpha`),
    whose networks start from shallower ones (`recipe.identity_init_from`),
    that has one row and layer statistics: it measures gradients and trains nothing,
    or whose runs all name a `variant` in their settings, of one arm alone: an intervention.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from degradation.config import overrides
from degradation.config.schema import RunConfig
from degradation.runs.run_dir import RunDir


def described(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, as `degradation.runs.frames.load` gives them, and what each one's protocol varies.

    `layers_only` says that it measures gradients alone, `side_study` that it is one of those above.
    """
    protocols = {}
    for protocol, own in runs.groupby("protocol"):
        run = RunDir(Path(own["folder"].iloc[0]))
        config = run.config()
        one_row = config.recipe.iterations <= config.recipe.eval_every
        varied = _varied(config) | {"layers_only": one_row and run.layers.exists()}
        intervention = own["arm"].nunique() == 1 and bool((own["variant"] != "").all())
        side = intervention or varied["layers_only"] or varied["base"] != protocol
        protocols[protocol] = varied | {"side_study": side}
    table = pd.DataFrame(list(protocols.values()), index=list(protocols))
    return runs.join(table, on="protocol")


def _varied(config: RunConfig) -> dict[str, Any]:
    """What a protocol varies.

    `base` is the protocol without scaled shortcuts and identity initialization, `with_norm` that
    with batch normalization; `default` says whether it is what `conf/` composes for its data.
    """
    recipe = replace(config.recipe, identity_init_from=None, identity_init_noise=0.0)
    base = replace(config, model=replace(config.model, alpha=1.0), recipe=recipe)
    return {
        "alpha": config.model.alpha,
        "norm": config.model.norm,
        "identity_init_from": config.recipe.identity_init_from,
        "identity_init_noise": config.recipe.identity_init_noise,
        "base": base.protocol,
        "with_norm": replace(base, model=replace(base.model, norm=True)).protocol,
        "default": not overrides.changed_settings(config),
    }
