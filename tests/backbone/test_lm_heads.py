"""A language model asked through heads: its features, its words, and what cannot be."""

import pytest
import torch

from continual.backbone import load_backbone
from continual.errors import InputError
from continual.runs.assemble import run
from tests.sequences import QUICK, small_scenario


def test_the_feature_is_the_last_token_whatever_the_batch():
    """Each text alone gives what it gives among longer ones."""
    model = load_backbone("tiny-lm", heads=True)
    scenario = small_scenario(1)
    task = scenario[0].task
    candidates = scenario.candidates(0, 0)
    model.begin_experience(candidates, 0)
    encoded = model.encode(task, task.load().train)
    together = model.answers(encoded.batch(range(8)), candidates, True).logits

    assert len(set(encoded.lengths[:8])) > 1
    for k in range(8):
        alone = model.answers(encoded.batch([k]), candidates, True).logits
        torch.testing.assert_close(alone[0], together[k], rtol=1e-4, atol=1e-5)


def test_it_reads_running_text_as_the_plain_model_does():
    """So that drift means the same."""
    documents = ["The sun is hot.", "def add(a, b):\n    return a + b\n"]
    options = {"window": 32, "stride": 32, "batch_size": 2}
    plain = load_backbone("tiny-lm").corpus(documents, **options)
    headed = load_backbone("tiny-lm", heads=True)

    assert headed.measures_perplexity
    assert headed.corpus(documents, **options) == plain


def test_a_linear_probe_learns_and_drifts_by_nothing(tmp_path):
    """The control that a language model otherwise cannot have."""
    settings = QUICK | {
        "backbone": {"heads": True},
        "train": {"batch_size": 8, "epochs": 8, "lr": 0.05},
    }
    record = run(small_scenario(1), "head-only", out=tmp_path / "r", settings=settings)

    assert record.matrix()[0, 0] == 1.0
    for nats in record.probes().values():
        assert nats[0] == nats[-1]


@pytest.mark.parametrize("method", ["lora", "curlora"])
def test_adapters_learn_under_heads_and_are_exported(tmp_path, method):
    """The setting of the CURLoRA paper, from end to end."""
    settings = QUICK | {"backbone": {"heads": True}}
    record = run(small_scenario(2), method, out=tmp_path / "r", settings=settings)

    assert record.complete
    assert (record.path / "adapters" / "after-01" / "adapter_config.json").is_file()
    assert (record.path / "adapters" / "after-01" / "heads.safetensors").is_file()


def test_encoder_decoders_have_no_heads(saved):
    """The message says who has."""
    with pytest.raises(InputError, match="is for causal language models"):
        load_backbone(str(saved("t5")), heads=True)
