"""How an experience is trained: the settings a user may give as ``--set train.NAME=VALUE``."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TrainConfig(BaseModel):
    """Settings of the loop; frozen, and every one of them is recorded in ``run.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=1, ge=1, description="passes over each task's training split")
    max_steps: int | None = Field(
        default=None, ge=1, description="stop a task after this many optimiser steps"
    )
    batch_size: int = Field(default=16, ge=1, description="examples per optimiser step")
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="examples per forward pass; smaller than batch_size accumulates gradients",
    )
    group_by_length: bool = Field(
        default=False,
        description="batches of examples of similar length, in random order: less padding, faster "
        "steps; what is learned together is then no longer drawn independently",
    )
    lr: float | None = Field(
        default=None, gt=0, description="peak learning rate; left out: the method's own default"
    )
    optimiser: Literal["adamw", "lora-rite", "lora-pro", "riemannian", "loko"] = Field(
        default="adamw",
        description="what updates low-rank pairs, see `methods/lora-rite` and `methods/lora-pro`; "
        "numbers that belong to no pair are AdamW's. loko is a filter over all that learns",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay")
    warmup: float = Field(
        default=0.1, ge=0, le=1, description="part of an experience's steps with rising rate"
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="cosine", description="the learning rate after warm-up"
    )
    clip: float | None = Field(
        default=1.0,
        gt=0,
        description="largest norm of the whole gradient; null: no clipping. For lora-rite the norm "
        "of unmagnified gradients",
    )
    precision: Literal["float32", "bf16"] = Field(
        default="float32", description="bf16 computes forward passes under autocast"
    )
    compile: bool = Field(
        default=False,
        description="compile the blocks of the backbone for training steps, with torch.compile; "
        "what continues is then as near as rounding, see `docs/speed.md`",
    )
    class_loss: Literal["current", "seen"] = Field(
        default="current",
        description="classes in the loss of a head: those of the task (local) or all seen",
    )
    joint: bool = Field(
        default=False,
        description="learn all tasks at once, shuffled, when the last experience comes: the "
        "control that cannot forget; only the last row of R is then evaluated",
    )
    early_stop: int | None = Field(
        default=None,
        ge=1,
        description="epochs without a better validation loss before an experience ends; "
        "its best state is then restored. Left out: never",
    )
    checkpoint_steps: int = Field(
        default=100, ge=1, description="optimiser steps between checkpoints within an experience"
    )
    log_steps: int = Field(default=10, ge=1, description="optimiser steps between events")

    @model_validator(mode="after")
    def _micro_batches_fit(self) -> "TrainConfig":
        if self.micro_batch_size is not None and self.micro_batch_size > self.batch_size:
            raise ValueError(
                f"micro_batch_size ({self.micro_batch_size}) must not exceed batch_size "
                f"({self.batch_size}), of which it is a part"
            )
        if self.compile and self.optimiser == "loko":
            raise ValueError(
                "loko goes back through one pass several times, which a compiled one allows once; "
                "leave compile out"
            )
        if self.joint and self.early_stop is not None:
            raise ValueError(
                "early_stop watches one task's validation split; joint learns them all"
            )
        return self


class RehearsalConfig(BaseModel):
    """Examples of earlier tasks, learned again: ``--set rehearsal.NAME=VALUE``; any method."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=0, ge=0, description="examples kept of all tasks together; 0: none")
    per_step: int | None = Field(
        default=None,
        ge=1,
        description="kept examples learned beside those of every optimiser step; left out: as many "
        "as train.batch_size",
    )
    policy: Literal["reservoir", "class-balanced"] = Field(
        default="reservoir",
        description="reservoir keeps a uniform sample of all that was seen, class-balanced as many "
        "of each class of each task as the size allows",
    )


class EWCConfig(BaseModel):
    """Elastic weight consolidation: ``--set ewc.NAME=VALUE``; see ``training/ewc.py``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lam: float = Field(default=0.0, ge=0, description="λ, weight of the penalty; 0: none")
    fisher: Literal["adapter", "weights"] = Field(
        default="adapter",
        description="of the numbers that learn, or of the whole adapted weights W + ΔW",
    )
    decay: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="γ of online EWC, whose anchor is the last task's end; left out: an anchor for "
        "every task",
    )
    samples: int = Field(default=200, ge=1, description="examples per task to estimate it from")
    labels: Literal["data", "model"] = Field(
        default="data",
        description="whose labels: the data's (empirical Fisher) or drawn from the model (Fisher)",
    )


class LwFConfig(BaseModel):
    """Learning without forgetting, by distillation: ``--set lwf.NAME=VALUE``; any method."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lam: float = Field(default=0.0, ge=0, description="weight of the distillation; 0: none")
    temperature: float = Field(default=2.0, gt=0, description="T, softens both distributions")
