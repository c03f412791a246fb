"""What is known of a method beside its code: names, paper, costs and contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from continual.adapters.base import Adapter


@dataclass(frozen=True, kw_only=True)
class Method:
    """A named way to adapt a backbone to a sequence of tasks.

    Attributes:
        name: how it is written in files and on the command line.
        title: how it is printed.
        paper: where it was published, or "" for a control.
        summary: one sentence.
        config: its frozen settings; ``config()`` are the defaults.
        adapter: what sits at each adapted weight; None if there is nothing.
        trains: what learns; the task heads do too, unless "nothing".
        learns: the same by the letters of its formula, without heads.
        learning_rate: peak of AdamW where the run does not name one; chosen by
            validation loss on the first task of `pydocs`, head-only's on that of `split-digits`
            (analysis/all-methods); LoKO's is the filter's own step.
        control: whether it is there to keep the others honest.
        lora_export: whether ΔW has an exact low-rank form, written by factors.
        trained_numbers: closed formula for one (m, n) weight, without heads.
        defaults: settings of a run that make it what it is, by section.
        identity: largest relative difference that attaching may make; 0: none, to the last bit.
        noisy: whether the forward pass is random while the model is in training mode.
        rests: whether some of what learns rests in some steps, without a gradient, by design.
        restarts: whether frozen numbers change while a task is learned, so that putting back the
            numbers that learn does not give the model from before the task.
        products: most matrix products that the adapter of one weight makes in a forward pass,
            whatever its settings and however many tasks there were.
    """

    name: str
    title: str
    paper: str
    summary: str
    config: type
    adapter: type[Adapter] | None
    trains: Literal["adapters", "nothing", "heads", "everything"]
    learns: str
    learning_rate: float
    control: bool
    lora_export: bool
    trained_numbers: str
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    identity: float = 0.0
    noisy: bool = False
    rests: bool = False
    restarts: bool = False
    products: int = 4
