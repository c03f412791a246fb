"""Where rows come from, as a scenario file says it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

# The tags of the source variants; in brackets, so that no key of a file is mistaken for one.
SOURCES = {"hub": "[hub]", "file": "[file]", "callable": "[callable]", "local": "[local]"}


class Section(BaseModel):
    """A mapping of a scenario file: unknown keys are errors, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Share = Annotated[float, Field(ge=0, le=1, strict=False)]
SHARE = (
    "Two rising numbers from 0 to 1: use this part of every class, in the order of content hashes. "
    "[0, 0.8] for train and [0.8, 1] for test cut data without a test split in two."
)


class HubSection(Section):
    """One split of a dataset on the Hugging Face hub."""

    hub: str = Field(min_length=1, description="Id on the hub, such as fancyzhx/ag_news.")
    split: str = Field(min_length=1, description="Split to read, such as train or train[:10%].")
    config: str | None = Field(default=None, description="Configuration (subset) of the dataset.")
    revision: str | None = Field(
        default=None, description="Commit or tag; pins the data's version."
    )
    share: list[Share] | None = Field(default=None, min_length=2, max_length=2, description=SHARE)


class FileSection(Section):
    """A local file, or a folder with one folder of images per label."""

    file: str = Field(
        min_length=1,
        description="csv, tsv, json, jsonl, parquet or text file (also .gz, .bz2, .xz, .zst), or a "
        "folder of images. Relative to this YAML file.",
    )
    sample_by: Literal["line", "paragraph", "document"] = Field(
        default="line", description="What one row of a text file is."
    )
    share: list[Share] | None = Field(default=None, min_length=2, max_length=2, description=SHARE)


class CallableSection(Section):
    """A Python function that returns rows. Loading the scenario runs its code."""

    callable: str = Field(
        pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$",
        description="module:function; the module is installed, or a file beside this YAML file.",
    )
    params: dict[str, Any] = Field(default={}, description="Keyword arguments of the function.")


class LocalSection(Section):
    """Data that cannot be downloaded from the hub; it is given with --data."""

    local: str = Field(
        min_length=1, description="Where --data has it: the task's name, a slash, train or test."
    )
    origin: str = Field(min_length=1, description="Where it comes from, and how its rows are made.")


def _source_tag(value: object) -> str | None:
    keys = value if isinstance(value, dict) else {}
    return next((tag for key, tag in SOURCES.items() if key in keys), None)


SourceSection = Annotated[
    Annotated[HubSection, Tag("[hub]")]
    | Annotated[FileSection, Tag("[file]")]
    | Annotated[CallableSection, Tag("[callable]")]
    | Annotated[LocalSection, Tag("[local]")],
    Discriminator(_source_tag),
]
