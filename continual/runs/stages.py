"""What a forked run stands on: the backbone with what earlier methods learned merged in.

``fork/00``, ``fork/01``, ... of its run directory each hold the configuration of a method and its
state after an experience. They are merged in turn whenever the run is loaded, before its own method
is attached, so nothing of the backbone is copied to disk.
"""

from pathlib import Path

import torch
import yaml
from pydantic import ValidationError
from torch import Tensor

from continual.adapters import Adaptation
from continual.adapters.state import part
from continual.backbone import Backbone
from continual.errors import InputError
from continual.interop.peft import merged_state
from continual.interop.tuners.adaptation import TunerAdaptation
from continual.interop.tuners.names import PROMPTS, is_tuner
from continual.interop.tuners.settings import TunerConfig
from continual.records.files import DamagedFileError
from continual.runs.attaching import any_config, attach_method
from continual.runs.config import RunConfig
from continual.scenario import Scenario
from continual.training.checkpoint import DAMAGE, read_checkpoint

STAGES = "fork"  # the folder in a run directory


def stages_of(folder: Path) -> list[Path]:
    """Return the stages of a run directory, in order; none where it is no fork of other weights."""
    return sorted(path for path in (folder / STAGES).glob("[0-9]*") if path.is_dir())


def lay_stages(folder: Path, scenario: Scenario, backbone: Backbone) -> None:
    """Merge what earlier methods learned into a backbone; its heads keep what they learned.

    Raises:
        DamagedFileError: a stage cannot be read.
        InputError: what was learned is no change of weights.
    """
    for stage in stages_of(folder):
        try:
            config = RunConfig(**yaml.safe_load((stage / "run.yaml").read_bytes()))
            state = read_checkpoint(stage)
        except (*DAMAGE, yaml.YAMLError, ValidationError) as error:
            raise DamagedFileError(
                f"{stage} is damaged ({error}), so the weights that the run was forked from are "
                "not known. Restore it from a copy, or fork again into a new directory."
            ) from error
        adaptation = attach_method(backbone, config, options_of(config))
        begin_through(scenario, backbone, adaptation, config.seed, state.position.experience)
        adaptation.load_state(part(state.tensors, "state|"))
        merged = _merged(adaptation)
        adaptation.detach()
        _put(backbone, merged)


def options_of(config: RunConfig) -> object:
    """Return the method's own configuration of a recorded run."""
    if is_tuner(config.method):
        return TunerConfig(**config.method_options)
    return any_config(config.method, config.method_options)


def begin_through(
    scenario: Scenario, backbone: Backbone, adaptation: Adaptation, seed: int, last: int
) -> None:
    """Begin every task up to one without learning; the function stays as it is."""
    for experience in scenario[: last + 1]:
        if experience.index <= adaptation.task:
            continue
        candidates = scenario.candidates(experience.index, experience.index)
        if candidates is not None:
            backbone.begin_experience(candidates, seed)
        adaptation.begin_task(experience.index)


def _merged(adaptation: Adaptation) -> dict[str, Tensor]:
    """Return the backbone's numbers as they are with everything that was learned, by name."""
    if isinstance(adaptation, TunerAdaptation):
        if adaptation.config.tuner in PROMPTS:
            raise InputError(
                f"what method {adaptation.method.name!r} learned is no change of weights, so "
                "another method cannot go on from it; fork it with its own method."
            )
        return adaptation.installed.merged()
    changed = merged_state(adaptation)
    with adaptation.unwrapped():  # full fine-tuning has changed the model itself
        own = adaptation.model.state_dict() if adaptation.method.trains == "everything" else {}
        return {name: tensor.clone() for name, tensor in own.items()} | changed


@torch.no_grad()
def _put(backbone: Backbone, merged: dict[str, Tensor]) -> None:
    live = backbone.model.state_dict(keep_vars=True)
    for name, tensor in merged.items():
        live[name].copy_(tensor)
