"""The scenario file as pydantic models: what an editor is told, and what a file may contain."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from continual.scenario.source_schema import Section, SourceSection
from continual.scenario.values import PROMPT, Kind, Setting


def _word(value: object) -> object:
    """Let a whole number be a label; a bool is left for the type check to refuse."""
    return str(value) if type(value) is int else value


Label = Annotated[str, BeforeValidator(_word, json_schema_input_type=str | int)]
Count = Annotated[int, Field(ge=1)]


def _verbalisers(value: object) -> object:
    """Let the keys of a mapping label -> text be whole numbers too."""
    return {_word(key): text for key, text in value.items()} if isinstance(value, dict) else value


LabelList = Annotated[list[Label], Tag("[list]")]
LabelNames = Annotated[dict[str, Label], BeforeValidator(_verbalisers)]
LabelMap = Annotated[dict[str, str], BeforeValidator(_verbalisers), Tag("[mapping]")]
Labels = Annotated[
    LabelList | LabelMap,
    Discriminator(lambda value: "[mapping]" if isinstance(value, dict) else "[list]"),
]


class LimitSection(Section):
    """How many examples of each split are used, chosen by content hash."""

    train: Count | None = Field(default=None, description="At most this many training examples.")
    validation: Count | None = Field(
        default=None, description="At most this many validation examples."
    )
    test: Count | None = Field(default=None, description="At most this many test examples.")


class DataSection(Section):
    """What a task and a split have in common."""

    name: str = Field(description="Name in tables and files: letters, digits, '.', '_', '-'.")
    kind: Kind = Field(description="What is learned.")
    train: SourceSection = Field(description="Where the training rows come from.")
    test: SourceSection = Field(description="Where the test rows come from.")
    validation: SourceSection | None = Field(
        default=None,
        description="Where the validation rows come from; by default a share of train.",
    )
    columns: dict[str, str] = Field(
        default={},
        description="Our name (text, label, target, image, id) to the name in the data; for text "
        "and target also a template over {columns} of the data.",
    )
    labels: Labels = Field(
        default=[],
        description="Class names in label-id order, or a mapping from class name to what a "
        "language model says for it.",
    )
    label_names: LabelNames = Field(
        default={},
        description="What the data calls a label, to its name in `labels`, where they differ.",
    )
    prompt: str = Field(
        default=PROMPT, description="Template over {text} and other columns of the data."
    )
    score: (
        Literal["accuracy", "exact_match", "rouge_l", "edit_similarity", "sari", "token_accuracy"]
        | None
    ) = Field(default=None, description="How answers are scored; by default the kind's own score.")
    limit: LimitSection = Field(default=LimitSection(), description="How many examples are used.")
    validation_fraction: Annotated[float, Field(ge=0, lt=1, strict=False)] = Field(
        default=0.1,
        description="Share of train that becomes the validation split where none is given.",
    )


class TaskSection(DataSection):
    """One task."""

    classes: list[Label] | None = Field(
        default=None, description="Use only the rows with these labels."
    )


class SplitSection(DataSection):
    """One labelled dataset, split into several tasks by class; named <name>-1, <name>-2, ...."""

    tasks: Count = Field(description="How many tasks.")
    seed: int | None = Field(
        default=None, description="Take the classes in the order of this seed."
    )
    class_order: list[Label] | None = Field(
        default=None, description="Take the classes in this order."
    )


class ProbeSection(Section):
    """Held-out text that is never trained on; its perplexity measures drift."""

    name: str = Field(description="Name in every table; differs from every task's.")
    source: SourceSection = Field(description="Where the documents come from.")
    column: str = Field(default="text", description="Column with the text of a document.")
    limit: Count | None = Field(default=None, description="At most this many documents.")


class DefaultsSection(Section):
    """Settings that suit the scenario; whoever runs it may override them."""

    backbone: str | None = Field(
        default=None, description="Embedded name, hub id or path of the backbone."
    )
    train: dict[str, Any] = Field(default={}, description="Training settings.")
    method: dict[str, Any] = Field(default={}, description="Method settings.")
    evaluation: dict[str, Any] = Field(default={}, description="Evaluation settings.")


class ScenarioSection(Section):
    """A sequence of tasks for continual learning."""

    name: str = Field(description="Name of the scenario: letters, digits, '.', '_', '-'.")
    description: str = Field(default="", description="What a reader should know about the data.")
    setting: Setting = Field(
        description="task-incremental: labels of its own per task; domain-incremental: one shared "
        "set; class-incremental: the set grows.",
    )
    defaults: DefaultsSection = Field(
        default=DefaultsSection(), description="Settings that suit the scenario."
    )
    probes: list[ProbeSection] = Field(
        default=[], description="Texts whose perplexity measures drift."
    )
    orders: dict[str, list[str]] = Field(
        default={}, description="Named permutations of the task names."
    )
    tasks: list[TaskSection] = Field(default=[], description="The tasks, in order.")
    split: SplitSection | None = Field(
        default=None,
        description="One labelled dataset split into tasks by class; they follow `tasks`.",
    )


def scenario_schema() -> dict[str, Any]:
    """Return the JSON schema of a scenario file, for editors and other tools."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ScenarioSection.model_json_schema(mode="validation"),
    }
