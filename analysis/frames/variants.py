"""Which of a folder's protocols vary another one, and in what: the runs behind the studies of why.

A protocol is a *variant*, and never enters the paper's figures and tables, where

    alpha       its shortcuts are scaled (model.alpha)
    grown       its nets start from shallower ones (recipe.identity_init_from)
    intervention        it is what a file of conf/intervention makes of another protocol here: plain nets alone, of
                depths that the other has
    look        it holds the first row alone and a look at the layers: gradients, not training

All others are studies of their own. An intervention's *base* is the protocol from which most others here are
one intervention away; what differs from a base in one setting that no file names is called by it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from analysis.frames import settings
from degradation.config import identity, overrides, schema
from degradation.runs import run_dir

BELOW = (90, 80, 20)
"""Percent of training error: the paper's mark of a start, its warm-up's end, and a trained net."""


@dataclass(frozen=True)
class Protocol:
    """What one of a folder's protocols is."""

    key: str
    config: schema.RunConfig
    """One of its points, as a plain net's where it can be."""
    runs: int
    depths: frozenset[int]
    paired: bool
    """Whether it holds both arms."""
    looks: bool
    base: str
    """The protocol that is left without scaling and growing; its own key where there is neither."""
    intervention: str = ""
    """What it changes of `intervention_of`; empty: it is no intervention's."""
    intervention_of: str = ""
    named: bool = False
    """Whether a file of conf/intervention makes that change."""

    @property
    def variant(self) -> bool:
        return self.base != self.key or self.looks or (self.named and not self.paired)

    @property
    def default(self) -> bool:
        """Whether it is what `conf/` composes for its data."""
        return not overrides.changed_settings(self.config)


def protocols(runs: pd.DataFrame, rows: pd.DataFrame) -> dict[str, Protocol]:
    """Every protocol of a folder by its key; `runs` and `rows` as `store.load` gives them."""
    if runs.empty:
        return {}
    lengths = rows.groupby("run").size() if len(rows) else pd.Series(dtype=int)
    found = {}
    for key, own in runs.groupby("protocol"):
        run = run_dir.RunDir(Path(str(own["folder"].iloc[0])))
        config = run.config()
        short = own["run"].map(lengths).fillna(0).max() <= 1
        found[str(key)] = Protocol(
            str(key), config, len(own), frozenset(own["depth"].map(int)),
            own["arm"].nunique() > 1,
            bool(short) and run.layers.exists(), _ordinary(config).protocol,
        )  # fmt: skip
    return found | {p.key: p for p in _interventions(found.values())}


def _ordinary(config: schema.RunConfig) -> schema.RunConfig:
    """The point without a scaled shortcut, from scratch."""
    model = replace(config.model, alpha=1.0)
    recipe = replace(config.recipe, identity_init_from=None, identity_init_noise=0.0)
    return replace(config, model=model, recipe=recipe)


def _interventions(found: Iterable[Protocol]) -> Iterable[Protocol]:
    """The protocols that vary a base, with what they change and of which."""
    left = {p.key: p for p in found if p.base == p.key}
    reached = {key: _one_intervention_away(p, left) for key, p in left.items()}
    taken: set[str] = set()
    for key in sorted(reached, key=lambda key: (-len(reached[key]), -left[key].runs, key)):
        others = {k: label for k, label in reached[key].items() if k not in taken}
        if key in taken or not others:
            continue
        others |= {k: line for k in left if k not in {*others, *taken, key}
                   if (line := _one_setting(left[key], left[k]))}  # fmt: skip
        taken |= {key, *others}
        for other, label in others.items():
            named = other in reached[key]
            yield replace(left[other], intervention=label, intervention_of=key, named=named)


def _one_intervention_away(protocol: Protocol, others: Mapping[str, Protocol]) -> dict[str, str]:
    """The name of the intervention by which each of the others is reached, where one is."""
    found = {}
    for name, change in settings.interventions().items():
        config = settings.changed(protocol.config, change)
        other = others.get(config.protocol) if config is not None else None
        if other is not None and other.key != protocol.key and other.depths <= protocol.depths:
            found[other.key] = name
    return found


def _one_setting(base: Protocol, other: Protocol) -> str:
    """`recipe.lr: 0.05 → 0.2`, where that is all; else nothing."""
    lines = identity.difference(_held(base.config), _held(other.config))
    return lines[0] if len(lines) == 1 else ""


def _held(config: schema.RunConfig) -> dict[str, object]:
    """A point's identity, less what a protocol leaves open."""
    whole = identity.identity(config.with_shortcut("none") if config.model.alpha == 1 else config)
    return {key: value for key, value in whole.items() if key not in ("depth", "seed")}


def described(
    runs: pd.DataFrame, rows: pd.DataFrame, known: Mapping[str, Protocol]
) -> pd.DataFrame:
    """A line a run: the columns of `store.describe`, what it varies, and how it went.

    alpha, norm, grown_from, grown_noise, base, intervention, intervention_of, look, variant, start;
    train_error and test_error of the last row of a finished run, else NaN; first_train and
    first_test of its first row; below_90, below_80, below_20: the first row below so much training
    error, else NaN.
    """
    if runs.empty:
        return runs
    varied = {key: _varied(protocol) for key, protocol in known.items()}
    extra = pd.DataFrame([varied[key] for key in runs["protocol"]], index=runs.index)
    table = pd.concat([runs.drop(columns="variant", errors="ignore"), extra], axis=1).set_index("run", drop=False)
    rows = rows.sort_values(["run", "iteration"]) if len(rows) else rows
    for name, row in (("", "last"), ("first_", "first")):
        ends = getattr(rows.groupby("run"), row)() if len(rows) else pd.DataFrame()
        for error in ("train", "test"):
            column = f"{name}{error}_error" if not name else f"{name}{error}"
            values = ends[f"{error}_error"] if len(ends) else pd.Series(dtype=float)
            table[column] = table["run"].map(values)
    table.loc[table["state"] != "done", ["train_error", "test_error"]] = float("nan")
    for percent in BELOW:
        under = rows[rows["train_error"] < percent] if len(rows) else rows
        first = under.groupby("run")["iteration"].min() if len(under) else pd.Series(dtype=float)
        table[f"below_{percent}"] = table["run"].map(first).astype(float)
    return table.reset_index(drop=True)


def _varied(protocol: Protocol) -> dict[str, object]:
    config = protocol.config
    return {
        "alpha": config.model.alpha,
        "norm": config.model.norm,
        "grown_from": config.recipe.identity_init_from,
        "grown_noise": config.recipe.identity_init_noise,
        "base": protocol.base,
        "intervention": protocol.intervention,
        "intervention_of": protocol.intervention_of,
        "look": protocol.looks,
        "variant": protocol.variant,
        "start": start(config),
    }


def start(config: schema.RunConfig) -> str:
    """A key of all that decides a net's first gradients, but arm, normalisation, depth, seed."""
    held = identity.identity(_ordinary(config))
    model = {k: v for k, v in held["model"].items() if k not in ("norm", "shortcut")}
    kept = [model, held["data"], config.recipe.batch_size, config.recipe.init]
    return json.dumps(kept, sort_keys=True)
