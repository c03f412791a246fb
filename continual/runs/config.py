"""What a run is made of, as ``run.yaml`` records it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from continual.trackers.settings import EvaluationSettings
from continual.training.config import EWCConfig, LwFConfig, RehearsalConfig, TrainConfig

Tracking = Literal["none", "tensorboard", "wandb", "mlflow"]


class BackboneSettings(BaseModel):
    """How the backbone is loaded: ``--set backbone.NAME=VALUE``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = Field(default="cpu", description="cpu, cuda or cuda:N")
    attention: str | None = Field(default=None, description="eager, sdpa or flash_attention_2")
    trust_remote_code: bool = Field(default=False, description="run code that a hub model ships")
    revision: str | None = Field(
        default=None, description="branch, tag or commit of a hub model; left out: its main branch"
    )
    max_length: int | None = Field(default=None, ge=8, description="tokens per example")
    heads: bool = Field(
        default=False,
        description="let a language model classify by heads over its last token, as the CURLoRA "
        "paper does, instead of by the words of its labels",
    )
    shard: bool = Field(
        default=False,
        description="split the weights of every block among the processes of a launcher, for "
        "backbones that do not fit one device; adapters stay whole. See `processes`",
    )


class ForkOrigin(BaseModel):
    """Where a forked run comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="the run directory that it was forked from")
    after: int = Field(ge=0, description="the last experience that was learned there")
    method: str = Field(description="what learned there")
    carries: Literal["state", "merged weights"] = Field(
        description="the method's own state, or the backbone with what it learned merged in"
    )


class RunConfig(BaseModel):
    """One scenario × one method × one backbone × one seed, wholly resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: str
    setting: str
    tasks: list[dict[str, str]]
    probes: list[str]
    data: str = Field(default="", description="folder of --data; empty: the scenario's sources")
    method: str
    targets: str | list[str] = "default"
    method_options: dict[str, Any]
    backbone: str
    backbone_options: BackboneSettings
    seed: int = Field(ge=0)
    train: TrainConfig
    rehearsal: RehearsalConfig = RehearsalConfig()
    ewc: EWCConfig = EWCConfig()
    lwf: LwFConfig = LwFConfig()
    evaluation: EvaluationSettings
    tracking: Tracking = "none"
    fork: ForkOrigin | None = None

    def written(self) -> dict[str, Any]:
        """Return what run.yaml holds."""
        return self.model_dump(mode="json", exclude={"fork"} if self.fork is None else None)
