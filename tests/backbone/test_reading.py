"""Prompts are tokenized once, whole where they fit, and cut in the middle of the text where not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from continual.backbone.text import Codec, Ragged
from continual.errors import InputError

from .conftest import LABELS, text_task

LONG = "Shares fell sharply on Monday. " * 12 + "The team won the final match."


@given(st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=8))
def test_padding_keeps_every_item_whole(rows):
    """Padded on either side, the masked part of a row is the item itself."""
    ragged = Ragged.of(rows)
    chosen = list(range(len(rows)))[::-1]

    for side in ("left", "right"):
        ids, mask = ragged.pad(chosen, 0, side, torch.device("cpu"))
        assert ids.shape == mask.shape == (len(rows), max(map(len, rows)))
        for k, row, real in zip(chosen, ids, mask, strict=True):
            assert row[real.bool()].tolist() == rows[k]
            width = len(rows[k])
            assert (real[-width:] if side == "left" else real[:width]).all() or width == 0
    assert ragged.flat.dtype == np.int32


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_a_short_prompt_is_the_tokenizers_own(backbone, family):
    """Special tokens stand where the tokenizer puts them, and a causal prompt stays open."""
    model, task = backbone(family), text_task()
    split = task.load().test

    encoded = model.encode(task, split)

    batch = encoded.batch([0])
    assert encoded.truncated == 0
    prompt = model.codec.tokenizer(task.render(split[0])).input_ids
    assert batch["prompt_ids"][0].tolist() == prompt
    spoken = "sports" if family == "t5" else " sports"
    target = model.codec.tokenizer(spoken, add_special_tokens=False).input_ids
    assert batch["target_ids"][0].tolist() == [*target, model.codec.tokenizer.eos_token_id]
    assert (encoded.lengths == encoded.prompts.lengths + encoded.targets.lengths).all()


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_truncation_cuts_the_middle_of_the_text_only(backbone, family):
    """Head and tail of the text and all of the template survive; the cut is counted."""
    model = backbone(family, max_length=40)
    prompt = "Read: {text}\nQuestion: {question}\nTopic:"
    rows = [
        {"text": LONG, "label": "sports", "question": "Which one?"},
        {"text": "Goals.", "label": "science", "question": "Which?"},
    ]
    task = text_task(rows, prompt=prompt)

    encoded = model.encode(task, task.load().test)

    assert encoded.truncated == 1
    batch = encoded.batch([0])
    text = model.codec.tokenizer.decode(batch["prompt_ids"][0], skip_special_tokens=True)
    assert text.startswith("Read: Shares fell")
    assert text.endswith("the final match.\nQuestion: Which one?\nTopic:")
    longest = 0 if family == "t5" else max(map(len, model.codec.targets(LABELS)))
    assert encoded.prompts.lengths[0] == 40 - longest


def test_a_causal_prompt_leaves_room_for_later_candidates(backbone):
    """At the model's own bound 16 positions stay free, whatever max_length allows."""
    model, task = backbone("gpt2"), text_task([{"text": LONG, "label": "sports"}])

    encoded = model.encode(task, task.load().test)

    assert encoded.prompts.lengths[0] == 64 - 16


def test_a_generation_target_leaves_its_own_room(backbone):
    """Prompt and target together have max_length tokens."""
    model = backbone("llama", max_length=30)
    rows = [{"text": LONG, "target": "the lazy dog"}, {"text": LONG, "target": "x"}]
    task = text_task(rows, kind="text-generation", labels=())

    encoded = model.encode(task, task.load().test)

    assert encoded.lengths.tolist() == [30, 30]


def test_a_template_that_does_not_fit_is_refused(backbone):
    """The message gives the numbers and what to change."""
    model = backbone("llama", max_length=20)
    task = text_task(prompt="{text} " + "Which topic is this about? " * 5)

    with pytest.raises(InputError, match=r"prompt of task 'topics' has \d+ tokens .* max_length"):
        model.encode(task, task.load().test)


def test_a_text_in_the_template_twice_is_cut_once(backbone):
    """Only the first {text} gives way; where that is not enough, the message says so."""
    model = backbone("llama", max_length=40)
    task = text_task([{"text": LONG, "label": "sports"}], prompt="{text} {text}:")

    with pytest.raises(InputError, match="tokens without its text"):
        model.encode(task, task.load().test)


def test_braces_and_fields_are_filled_in(backbone):
    """Escaped braces and other columns come out as str.format has them."""
    model = backbone("llama")
    rows = [{"text": "Goals", "label": "sports", "source": "{text}"}]
    task = text_task(rows, prompt="{{{source}}} {text}:")

    encoded = model.encode(task, task.load().test)

    text = model.codec.tokenizer.decode(encoded.prompts.flat, skip_special_tokens=True)
    assert text.strip() == "{{text}} Goals:"


def test_a_tokenizer_that_writes_the_space_itself():
    """Where the first word already gets a space, the answer does not get a second one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(special_tokens=["<unk>", "</s>"], show_progress=False)
    inner.train_from_iterator(["a b sports sports", "b a sports"], trainer)
    codec = Codec(PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>"))

    assert codec.ids("a sports") == codec.ids("a") + codec.targets(["sports"])[0][:-1]
    assert codec.start == codec.end


def test_a_batch_is_put_together_without_the_tokenizer(backbone, monkeypatch):
    """Everything was encoded once; batches come from flat arrays."""
    model, task = backbone("llama"), text_task()
    encoded = model.encode(task, task.load().test)
    monkeypatch.setattr(model.codec, "tokenizer", None)

    batch = encoded.batch(np.array([3, 1]))

    assert batch["prompt_ids"].shape == (2, int(encoded.prompts.lengths[[3, 1]].max()))
    assert batch["prompt_mask"][:, -1].all()
