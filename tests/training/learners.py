"""What takes part in the loop, in small."""

from collections.abc import Mapping

from continual.adapters import attach, configure
from continual.backbone import load_backbone
from continual.backbone.memory import BatchSize
from continual.scenario import Scenario
from continual.training.config import EWCConfig, LwFConfig, RehearsalConfig, TrainConfig
from continual.training.ewc import ElasticWeights
from continual.training.rehearsal import Memory
from continual.training.step import Learner
from tests.sequences import small_scenario


def learner(
    method: str = "lora",
    *,
    scenario: Scenario | None = None,
    backbone: str = "tiny-lm",
    rehearsal: RehearsalConfig | None = None,
    ewc: EWCConfig | None = None,
    lwf: LwFConfig | None = None,
    options: Mapping[str, object] | None = None,
    **train: object,
) -> Learner:
    """A learner that tells nobody anything."""
    loaded = load_backbone(backbone)
    config = configure(method, options or {})
    settings = TrainConfig(**{"batch_size": 8, **train})
    return Learner(
        scenario=scenario or small_scenario(1),
        backbone=loaded,
        adaptation=attach(
            loaded.model, method, config, model_type=loaded.model_type, heads=loaded.heads
        ),
        config=settings,
        lr=1e-3,
        seed=0,
        lwf=lwf or LwFConfig(),
        memory=Memory(rehearsal or RehearsalConfig(), 0),
        elastic=ElasticWeights(ewc or EWCConfig()),
        micro_batch=BatchSize(settings.micro_batch_size or 8, lambda note: None),
        save=lambda checkpoint: None,
        log=lambda event: None,
        observe=lambda experience, step: None,
        tick=lambda experience, done, total: None,
    )
