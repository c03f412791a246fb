"""Splits as flat arrays of token numbers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from continual.backbone.base import Encoded
from continual.backbone.text import Codec, Ragged, fill, prompts
from continual.backbone.windows import even
from continual.errors import InputError
from continual.scenario import Example, Task

SLACK = 16  # positions kept free of a model's hard limit, for longer candidates that arrive later


@dataclass(eq=False, kw_only=True)
class EncodedText(Encoded):
    """Prompts, and targets where the model speaks.

    A batch holds ``prompt_ids``, ``prompt_mask`` (B, P), padded on ``side``; with targets also
    ``target_ids``, ``target_mask`` (B, T), padded on the right, and ``target_rows`` (N,), where the
    tokens lie in these when rows are put behind each other; with classes ``label`` (B,), the
    numbers that `Heads.number` gave them, which stay in this process' memory.

    Attributes:
        truths: the class name or target text of every item; empty for language modeling.
        sources: the text of every item where the task's score compares with it, else empty.
    """

    ids: list[str]
    truths: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    truncated: int = 0
    prompts: Ragged
    targets: Ragged | None = None
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    filler: int
    side: str
    device: torch.device

    def __post_init__(self) -> None:
        self.lengths = self.prompts.lengths
        if self.targets is not None:
            self.lengths = self.lengths + self.targets.lengths

    def batch(self, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Return these items padded to the longest of them; all but labels on the device."""
        ids, mask = self.prompts.pad(indices, self.filler, self.side, self.device)
        batch = {"prompt_ids": ids, "prompt_mask": mask}
        if self.targets is not None:
            ids, mask = self.targets.pad(indices, self.filler, "right", self.device)
            batch |= {"target_ids": ids, "target_mask": mask}
            batch["target_rows"] = self.targets.places(indices, self.device)
        if len(self.numbers):
            chosen = self.numbers[np.asarray(indices, dtype=np.int64)]
            batch["label"] = torch.from_numpy(chosen)
        return batch


def encode_answers(
    codec: Codec,
    task: Task,
    examples: Iterable[Example],
    *,
    max_length: int,
    limit: int | None,
    separate: bool,
    device: torch.device,
) -> EncodedText:
    """Encode examples whose prompt has an answer.

    Args:
        codec: the tokenizer.
        task: its template and labels.
        examples: of one split.
        max_length: of prompt and answer together, or of the prompt alone if ``separate``.
        limit: positions that the model has, None if it counts them relatively.
        separate: the answer is read by a decoder of its own (encoder-decoder models).
        device: of the batches.
    """
    ids, filled, answers, truths, sources = [], [], [], [], []
    for example in examples:
        ids.append(example.id)
        filled.append(fill(task.prompt, example))
        answers.append(example.target)
        truths.append(class_name(task, example) if task.labels else example.target)
        if task.score == "sari":
            sources.append(example.text)
    targets = codec.targets(answers, space=not separate)
    room = [max_length] * len(ids)
    if not separate:
        room = _room(codec, task, targets, max_length, limit)
    before, after = codec.before, codec.after if separate else []
    around = len(before) + len(after)
    rows, truncated = prompts(codec, task, filled, room, around)
    start = [] if codec.start is None else [codec.start]
    return EncodedText(
        ids=ids,
        truths=truths,
        sources=sources,
        truncated=truncated,
        prompts=Ragged.of([[*before, *row, *after] or start for row in rows]),
        targets=Ragged.of(targets),
        filler=codec.filler,
        side="right" if separate else "left",
        device=device,
    )


def _room(
    codec: Codec, task: Task, targets: list[list[int]], max_length: int, limit: int | None
) -> list[int]:
    """Return how many tokens every prompt may have, so that its answer fits behind it.

    Every example of a classification task leaves room for the longest answer of the task.
    """
    if not task.labels:
        return [max_length - len(target) for target in targets]
    answers = [task.text_for(label) for label in task.class_names]
    longest = max(len(target) for target in codec.targets(answers))
    room = max_length - longest
    if limit is not None:
        room = min(room, limit - max(longest, SLACK))
    return [room] * len(targets)


def encode_documents(
    codec: Codec, task: Task, examples: Iterable[Example], *, max_length: int, device: torch.device
) -> EncodedText:
    """Encode running text: each document cut evenly, windows never mixing documents.

    Raises:
        InputError: the tokenizer has no token to begin a document with.
    """
    ids, contexts, targets = [], [], []
    start = codec.document_start()
    documents = [(example.id, example.text) for example in examples]
    for (name, _), row in zip(documents, codec.many([text for _, text in documents]), strict=True):
        tokens = [start, *row]
        for k, (begin, first, end) in enumerate(even(len(row), max_length)):
            ids.append(f"{name}#{k}" if k else name)
            contexts.append(tokens[begin + 1 : first + 1])
            targets.append(tokens[first + 1 : end + 1])
    if not ids:
        raise InputError(f"the documents of task {task.name!r} hold no token; check its data.")
    return EncodedText(
        ids=ids,
        prompts=Ragged.of(contexts),
        targets=Ragged.of(targets),
        filler=codec.filler,
        side="left",
        device=device,
    )


def encode_texts(
    codec: Codec,
    task: Task,
    examples: Iterable[Example],
    *,
    max_length: int,
    number: Callable[[str], int],
    device: torch.device,
) -> EncodedText:
    """Encode texts for a classification head: the bare text, or the prompt where there is none.

    A template that names other columns besides the text is filled in, since the text alone would
    leave them out; a plain one is made for language models and is left away.
    """
    ids, filled, truths = [], [], []
    for example in examples:
        ids.append(example.id)
        filled.append(fill(task.prompt if task.fields else "{text}", example))
        truths.append(class_name(task, example))
    around = len(codec.before) + len(codec.after)
    rows, truncated = prompts(codec, task, filled, [max_length] * len(ids), around)
    return EncodedText(
        ids=ids,
        truths=truths,
        truncated=truncated,
        prompts=Ragged.of([[*codec.before, *row, *codec.after] or [codec.filler] for row in rows]),
        numbers=np.array([number(truth) for truth in truths], dtype=np.int64),
        filler=codec.filler,
        side="right",
        device=device,
    )


def class_name(task: Task, example: Example) -> str:
    """Return the class of an example.

    Raises:
        InputError: it has none.
    """
    if example.label is None:
        raise InputError(f"example {example.id!r} of task {task.name!r} has no label.")
    return task.labels[example.label]
