"""How an experience is trained: the settings a user may give as ``--set train.NAME=VALUE``."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TrainConfig(BaseModel):
    """Settings of the loop; frozen, and every one of them is recorded in ``run.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=1, ge=1, description="passes over each task's training split")
    max_steps: int | None = Field(
        default=None, ge=1, description="stop an experience after this many optimiser steps"
    )
    batch_size: int = Field(default=16, ge=1, description="examples per optimiser step")
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="examples per forward pass; smaller than batch_size accumulates gradients",
    )
    lr: float | None = Field(
        default=None, gt=0, description="peak learning rate; left out: the method's own default"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's decoupled weight decay")
    warmup: float = Field(
        default=0.1, ge=0, le=1, description="part of an experience's steps with rising rate"
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="cosine", description="the learning rate after warm-up"
    )
    clip: float | None = Field(
        default=1.0, gt=0, description="largest norm of the whole gradient; null: no clipping"
    )
    precision: Literal["float32", "bf16"] = Field(
        default="float32", description="bf16 computes forward passes under autocast"
    )
    class_loss: Literal["current", "seen"] = Field(
        default="current",
        description="classes in the loss of a head: those of the task (local) or all seen",
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
        return self
