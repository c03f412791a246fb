"""What is recorded beside transformers' own Trainer, and that it changes nothing."""

import random
from functools import partial

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from continual import ForgettingCallback, RunRecord, attach
from continual.adapters import NLoRAConfig
from continual.backbone import load_backbone
from continual.errors import InputError
from continual.interop.export import export_run
from continual.interop.trainer import AdaptationCallback
from continual.interop.trainer.live import undisturbed
from continual.interop.trainer.plan import make_plan
from continual.reports import write_report
from continual.reports.gate import check
from continual.reports.terminal import print_comparison
from tests.interop.trainers import QUICK, TOKENIZER, examples, llama, scenario, trainer


def watching(folder, tasks=2, **options):
    """Return a silent callback that observes in small batches."""
    options = {"evaluation": QUICK, "quiet": True} | options
    return ForgettingCallback(scenario(tasks), folder, **options)


def lora(**options):
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"], **options)
    return get_peft_model(llama(), config)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def rows(record):
    return [(r.experience, r.step, r.task, r.metric, r.value, r.n) for r in record.score_rows]


def test_two_tasks_are_recorded_and_the_weights_are_those_without(tmp_path):
    """Two train() calls with looks within, dropout at work: bit for bit the weights of plain ones.

    The last row is what the saved model scores when it is loaded as any backbone is.
    """
    watched, plain = llama(), llama()
    callback = watching(tmp_path / "run", evaluation={**QUICK, "steps": 2})
    for topic in ("weather", "food"):
        trainer(watched, tmp_path / "o", topic, [callback]).train()
        trainer(plain, tmp_path / "o", topic).train()
    record = callback.record

    assert same(watched, plain)
    assert watched.training
    assert all(parameter.requires_grad for parameter in watched.parameters())
    assert record.complete
    assert np.isfinite(record.matrix()).all()
    assert np.isfinite(record.baseline()).all()
    assert [row.step for row in record.curve("weather")] == [0, 4, 2, 4]
    assert all(np.isfinite(record.probes()["fox"]))
    losses = [(e["experience"], e["step"]) for e in record.events() if "loss" in e]
    assert losses == [(i, step) for i in (0, 1) for step in (1, 2, 3, 4)]

    watched.save_pretrained(tmp_path / "saved")
    TOKENIZER.save_pretrained(tmp_path / "saved")
    backbone = load_backbone(str(tmp_path / "saved"))
    tasks = scenario(2)
    for j, experience in enumerate(tasks):
        task = experience.task
        encoded = backbone.encode(task, task.load().test)
        scored = backbone.score(task, encoded, tasks.candidates(1, j), 4)
        written = {
            e.id: e.nats for e in record.examples() if (e.experience, e.task) == (1, task.name)
        }
        assert written == pytest.approx({one.id: one.nats for one in scored}, rel=1e-5)


def test_asking_draws_nothing():
    """Every random state afterwards is the one before, also where asking fails."""
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = [torch.rand(3).tolist(), random.random(), np.random.rand()]
    torch.manual_seed(1), random.seed(1), np.random.seed(1)

    with pytest.raises(KeyError), undisturbed(torch.device("cpu"), None):
        torch.rand(9), random.random(), np.random.rand(9), {}["no"]

    assert [torch.rand(3).tolist(), random.random(), np.random.rand()] == expected


def test_what_the_model_could_do_before_counts_as_learned():
    """Tasks that no train() call learns come first; what has no test comes last."""
    assert make_plan(scenario(3), None).first == 0
    one = make_plan(scenario(3), "weather")
    assert (one.names, one.first, one.learns) == (("food", "music", "weather"), 2, ("weather",))
    own = make_plan(scenario(2), ["chats", "mails"])
    assert (own.names, own.first) == (("weather", "food", "chats", "mails"), 2)


@pytest.mark.parametrize(
    ("learns", "message"),
    [
        ([], "each once; got \\[\\]"),
        (["food", "food"], "each once"),
        (["food", "mails"], "either tasks of the scenario or only others"),
        ("fod", "no task 'fod'; did you mean 'food'"),
        ("my mails", "letters"),
        ("fox", "the probes \\['fox'\\]"),
    ],
)
def test_what_cannot_be_learned_is_refused(learns, message, tmp_path):
    """In words, before anything is there."""
    with pytest.raises(InputError, match=message):
        watching(tmp_path / "run", learns=learns)
    assert not (tmp_path / "run").exists()


def test_settings_and_directories_that_cannot_be_used_are_refused(tmp_path):
    """When the callback is made."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")

    with pytest.raises(InputError, match="did you mean 'steps'"):
        watching(tmp_path / "run", evaluation={"stepz": 3})
    with pytest.raises(InputError, match="leave it out here"):
        watching(tmp_path / "run", evaluation={"intruders": True})
    with pytest.raises(InputError, match="is not empty and is no run directory"):
        watching(tmp_path / "full")


def test_a_model_that_cannot_be_asked_is_refused_before_it_trains(tmp_path):
    """No language model, no tokenizer, a prompt of PEFT; nothing is written."""
    prompts = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    for model, message in (
        (nn.Linear(2, 2), "a Linear cannot be asked"),
        (get_peft_model(llama(), prompts), "adapter PROMPT_TUNING is not inside the layers"),
    ):
        with pytest.raises(InputError, match=message):
            trainer(model, tmp_path / "o", callbacks=[watching(tmp_path / "run")]).train()
    wordless = watching(tmp_path / "run", tokenizer="words")
    with pytest.raises(InputError, match="through its tokenizer; got str"):
        trainer(llama(), tmp_path / "o", callbacks=[wordless]).train()
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_further_process_goes_on_and_another_scenario_is_refused(tmp_path):
    """A new callback on the directory: the second call is the second experience, a third refused.

    A model that is back at its beginning is warned of.
    """
    folder, model = tmp_path / "run", llama()
    trainer(model, tmp_path / "o", callbacks=[watching(folder)], max_steps=2).train()
    first = rows(RunRecord.open(folder))

    with pytest.raises(InputError, match="holds a run with another configuration"):
        watching(folder, tasks=3)
    other = ForgettingCallback(scenario(2, prompt="{text}:"), folder, evaluation=QUICK, quiet=True)
    with pytest.raises(InputError, match=r"asked\.food\.prompt: .* -> '\{text\}:'"):
        trainer(model, tmp_path / "o", "food", [other]).train()
    again = trainer(llama(), tmp_path / "o", "food", [watching(folder)], max_steps=1)
    with pytest.warns(UserWarning, match="answers as it did before any training"):
        again.train()
    record = RunRecord.open(folder)
    assert rows(record)[: len(first)] == first
    assert record.complete
    with pytest.raises(InputError, match="has recorded all 2 train\\(\\) calls"):
        trainer(model, tmp_path / "o", callbacks=[watching(folder)]).train()


@pytest.mark.slow
def test_a_resumed_training_has_the_record_of_one_that_was_not_interrupted(tmp_path):
    """Killed after step 3, resumed from step 2 with a new callback; repeated, it adds nothing."""

    class Stop(Exception):
        pass

    class Killed(ForgettingCallback):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step == 3:
                raise Stop

    options = {"save_strategy": "steps", "save_steps": 2}
    looks = {**QUICK, "steps": 1}
    whole, broken = llama(), llama()
    trainer(
        whole, tmp_path / "a", callbacks=[watching(tmp_path / "whole", evaluation=looks)], **options
    ).train()
    killed = Killed(scenario(2), tmp_path / "broken", evaluation=looks, quiet=True)
    with pytest.raises(Stop):
        trainer(broken, tmp_path / "b", callbacks=[killed], **options).train()
    resumed = llama()
    callback = watching(tmp_path / "broken", evaluation=looks)
    trainer(resumed, tmp_path / "b", callbacks=[callback], **options).train(
        resume_from_checkpoint=True
    )

    assert same(whole, resumed)
    assert rows(callback.record) == rows(RunRecord.open(tmp_path / "whole"))
    found = rows(callback.record)
    again = watching(tmp_path / "broken", evaluation=looks)
    trainer(llama(), tmp_path / "b", callbacks=[again], **options).train(
        resume_from_checkpoint=True
    )
    assert rows(again.record) == found
    trainer(resumed, tmp_path / "c", "food", [again]).train()
    assert again.record.complete
    middle = tmp_path / "b" / "checkpoint-2"
    with pytest.raises(InputError, match="has recorded experience 1 since"):
        trainer(llama(), tmp_path / "b", callbacks=[again], **options).train(
            resume_from_checkpoint=str(middle)
        )
    with pytest.raises(InputError, match="does not know the model before that"):
        trainer(llama(), tmp_path / "b", callbacks=[watching(tmp_path / "new")], **options).train(
            resume_from_checkpoint=str(middle)
        )


@pytest.mark.slow
def test_one_fine_tuning_of_a_peft_model_under_gradient_checkpointing(tmp_path):
    """On data without a test: what it could do before is forgotten; the adapter is asked."""
    callback = watching(tmp_path / "run", learns="chats", method="my-lora", backbone="tiny")
    options = {"gradient_checkpointing": True, "bf16": True, "learning_rate": 0.5}
    watched, plain = lora(lora_dropout=0.2), lora(lora_dropout=0.2)
    plain.load_state_dict(watched.state_dict())
    trainer(watched, tmp_path / "o", callbacks=[callback], **options).train()
    trainer(plain, tmp_path / "o", **options).train()
    record = callback.record
    probes = record.probes()["fox"]

    assert same(watched, plain)
    assert (record.method, record.backbone, record.complete) == ("my-lora", "tiny", True)
    assert record.tested == ("weather", "food")
    np.testing.assert_array_equal(record.matrix()[0], record.baseline())
    assert probes[0] == probes[1] == probes[2] != probes[3]
    assert check(record, max_forgetting=1.0, min_accuracy={"average": 0.0})[0].passed
    assert all(one.passed for one in check(record, baseline=record))
    _, text = write_report([tmp_path / "run"], tmp_path / "report.html")
    assert "my-lora learned chats, which has no test here" in text.read_text()
    assert "How well chats was learned: it has no test." in text.read_text()
    print_comparison([record])
    with pytest.raises(InputError, match="nothing to export"):
        export_run(tmp_path / "run", tmp_path / "out", form="lora")


class PenaltyTrainer(transformers.Trainer):
    """As docs/without-our-loop.md has it."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        loss = loss + self.adaptation.penalty() / self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss


@pytest.mark.slow
@pytest.mark.parametrize("by_callback", [True, False])
def test_a_method_of_ours_inside_a_trainer_is_that_of_a_plain_loop(by_callback, tmp_path):
    """N-LoRA and its penalty, two micro-batches a step, two tasks: as a loop by hand."""
    config = NLoRAConfig(rank=2, lam=0.1)
    ours, plain = llama(dropout=0.0), llama(dropout=0.0)
    ours, plain = (attach(m, "nlora", config, model_type="llama") for m in (ours, plain))
    watch = watching(tmp_path / "run", adaptation=ours)
    options = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}
    options |= {"max_steps": 2, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    for i, topic in enumerate(("weather", "food")):
        ours.begin_task(i)
        callbacks = [AdaptationCallback(ours), watch] if by_callback else [watch]
        one = trainer(ours.model, tmp_path / "o", topic, callbacks, kind=PenaltyTrainer, **options)
        one.adaptation = ours
        if by_callback:
            one.compute_loss = partial(transformers.Trainer.compute_loss, one)
        one._get_train_sampler = lambda dataset=None: range(16)
        one.train()
        plain.begin_task(i)
        _by_hand(plain, examples(topic))
    tensors = ours.state()
    save_file(tensors, tmp_path / "state.safetensors")

    assert watch.record.method == "nlora"
    for name, tensor in plain.state().items():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-5, atol=1e-7)
    again = attach(llama(dropout=0.0), "nlora", config, model_type="llama")
    for i in range(2):
        again.begin_task(i)
    again.load_state(load_file(tmp_path / "state.safetensors"))
    assert again.state_hash() == ours.state_hash()


def _by_hand(adaptation, data):
    """Two steps of four examples, the penalty once in each."""
    adaptation.model.train()
    optimiser = torch.optim.AdamW(adaptation.trainable().values(), lr=0.01, weight_decay=0.0)
    for step in range(2):
        chosen = data[4 * step : 4 * step + 4]
        batch = {key: torch.tensor([row[key] for row in chosen]) for key in chosen[0]}
        adaptation.before_step()
        (adaptation.model(**batch).loss + adaptation.penalty()).backward()
        adaptation.after_backward()
        optimiser.step()
        adaptation.after_step(0.01)
        optimiser.zero_grad()


def test_a_trainer_that_would_train_something_else_is_refused(tmp_path):
    """No task begun, or an optimiser from before the task."""
    adaptation = attach(llama(), "lora", model_type="llama")
    callback = AdaptationCallback(adaptation)
    with pytest.raises(InputError, match="has begun no task"):
        trainer(adaptation.model, tmp_path / "o", callbacks=[callback], max_steps=1).train()
    adaptation.begin_task(0)
    other = attach(llama(), "lora", model_type="llama")
    other.begin_task(0)
    with pytest.raises(InputError, match="make a new Trainer for every task"):
        trainer(other.model, tmp_path / "o", callbacks=[callback], max_steps=1).train()
