"""Backbones whose weights are split: what is refused, and what every part of them knows."""

import pytest
import torch
import yaml
from torch import nn

from continual.adapters import attach
from continual.backbone import Backbone, load_backbone
from continual.errors import InputError
from continual.processes import Processes
from continual.records.checksums import write_known
from continual.runs.assemble import run
from continual.runs.fork import fork
from continual.runs.settings import resolve
from continual.runs.sharding import check_shard, let_go, mark_sharded
from tests.sequences import QUICK, small_scenario


def test_sharding_is_refused_before_anything_is_loaded(tmp_path):
    """One process, a trained backbone, PEFT's layers and merged results are answered at once."""
    with pytest.raises(InputError, match=r"there is one; start the command with `torchrun"):
        run(small_scenario(1), "lora", out=tmp_path / "r", settings={"backbone": {"shard": True}})
    for method, more, said in (
        ("full", {}, "trains the backbone itself"),
        ("peft:lora", {}, "layers of its own"),
        ("glora", {}, "merged weights"),
        ("loko", {"train": {"clip": None}}, "several times"),
        ("lora", {"ewc": {"lam": 1.0, "fisher": "weights"}}, "as large as the weights"),
        ("lora", {"evaluation": {"intruders": True}}, "decomposes whole weights"),
        ("lora", {"train": {"compile": True}}, "compiles blocks"),
    ):
        settings = {**QUICK, "backbone": {"shard": True}, **more}
        config, _ = resolve(small_scenario(1), method, backbone=None, seed=0, settings=settings)
        with pytest.raises(InputError, match=said):
            check_shard(config, Processes(count=2))
    assert not (tmp_path / "r").exists()


def test_all_parts_of_a_backbone_know_that_it_is_split_and_where_they_are():
    """A language model under heads reads running text by a backbone of its own."""
    backbone = load_backbone("tiny-lm", heads=True)
    mark_sharded(backbone, torch.device("cuda:1"))
    parts = [part for part in backbone.modules() if isinstance(part, Backbone)]

    assert len(parts) == 2
    assert {(str(p.device), str(p.heads.device), p.sharded) for p in parts} == {
        ("cuda:1", "cuda:1", True)
    }


def test_a_sharded_run_is_not_forked_and_says_why(tmp_path):
    """A fork is made by one process; nothing is written."""
    run(small_scenario(2), "lora", out=tmp_path / "r", settings=QUICK)
    described = yaml.safe_load((tmp_path / "r" / "run.yaml").read_text())
    described["backbone_options"] = {**described.get("backbone_options", {}), "shard": True}
    written = yaml.safe_dump(described, sort_keys=False).encode()
    write_known(tmp_path / "r", "run.yaml", written)
    with pytest.raises(InputError, match=r"made with backbone.shard, and a fork is made by one"):
        fork(tmp_path / "r", after=0, method="lora", out=tmp_path / "f", scenario=small_scenario(2))

    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_method_that_is_split_holds_no_weight_and_one_that_must_is_refused():
    """After letting go, a place has its weight's shape and one number; Flat-LoRA reads W."""
    adapted = attach(nn.Sequential(nn.Linear(12, 9)), "slora", targets="all-linear")
    let_go(adapted, torch.device("cpu"))
    (weight,) = [adapter.site.weight for adapter in adapted.adapters.values()]

    assert weight.shape == (9, 12)
    assert weight.untyped_storage().nbytes() == 4
    adapted = attach(nn.Sequential(nn.Linear(12, 9)), "flat-lora", targets="all-linear")
    with pytest.raises(InputError, match="'flat-lora', which reads the weight of '0'"):
        let_go(adapted, torch.device("cpu"))
