"""What this project adds to Hydra: a sweeper for studies.

`hydra/sweeper=study` composes and checks every run before one of them trains, skips those that have
their result, gives the others to the chosen launcher, and ends with the study's exit status.

Hydra takes plugins from the package `hydra_plugins` alone, and imports this one in every Hydra
program of the environment: so what it needs is imported where it is needed.
"""

import sys
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StudySweeper(Sweeper):
    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context, self.config = hydra_context, config

    def sweep(self, arguments: list[str]) -> Any:
        """Train the study, and leave with its exit status. Raises ConfigError."""
        from degradation.commands import train

        assert self.hydra_context is not None and self.config is not None, "set up by Hydra"
        sys.exit(train.train_sweep(self.hydra_context, self.config))


@dataclass
class StudySweeperConf:
    _target_: str = "hydra_plugins.study_sweeper.StudySweeper"
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(
    group="hydra/sweeper", name="study", node=StudySweeperConf, provider="degradation"
)
