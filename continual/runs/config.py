"""What a run is made of, as ``run.yaml`` records it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from continual.training.config import EWCConfig, LwFConfig, RehearsalConfig, TrainConfig

Tracking = Literal["none", "tensorboard", "wandb", "mlflow"]


class BackboneSettings(BaseModel):
    """How the backbone is loaded: ``--set backbone.NAME=VALUE``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = Field(default="cpu", description="cpu, cuda or cuda:N")
    attention: str | None = Field(default=None, description="eager, sdpa or flash_attention_2")
    trust_remote_code: bool = Field(default=False, description="run code that a hub model ships")
    max_length: int | None = Field(default=None, ge=8, description="tokens per example")
    heads: bool = Field(
        default=False,
        description="let a language model classify by heads over its last token, as the CURLoRA "
        "paper does, instead of by the words of its labels",
    )


class EvaluationSettings(BaseModel):
    """How test splits and probes are evaluated: ``--set evaluation.NAME=VALUE``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=64, ge=1, description="examples per forward pass")
    policy: Literal["full", "lower"] = Field(
        default="full",
        description="tasks scored after an experience: all, or those learned so far; before any "
        "training always all",
    )
    every: int = Field(
        default=1,
        ge=1,
        description="experiences between such evaluations; in between only the task just learned "
        "is scored, after the last all are",
    )
    sample: int | None = Field(
        default=None,
        ge=2,
        description="test examples per task, a fixed choice; their standard error is recorded",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        description="optimiser steps between scores of earlier tasks and probes within an "
        "experience, for the stability gap; left out: none",
    )
    intruders: bool = Field(
        default=False,
        description="count intruder dimensions of every adapted weight after each experience",
    )
    probe_window: int = Field(default=256, ge=2, description="tokens a probe's window holds")
    probe_stride: int | None = Field(
        default=None, ge=1, description="tokens a window moves on; left out: the whole window"
    )


class RunConfig(BaseModel):
    """One scenario × one method × one backbone × one seed, wholly resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: str
    setting: str
    tasks: list[dict[str, str]]
    probes: list[str]
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
