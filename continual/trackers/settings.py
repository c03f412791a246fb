"""How test splits and probes are evaluated."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
