"""What a run is made of, loaded: data, backbone, the attached method, and the facts about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from continual.adapters import Adaptation
from continual.backbone import Backbone, load_backbone
from continual.processes import ALONE, Processes
from continual.runs.attaching import attach_method
from continual.runs.companions import check_optimiser
from continual.runs.config import RunConfig
from continual.runs.progress import Reporter
from continual.runs.sharding import device_of, shard
from continual.runs.stages import lay_stages
from continual.scenario import Scenario
from continual.scenario.facts import data_facts


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A run's loaded parts, and the facts about them that ``environment.json`` records."""

    backbone: Backbone
    adaptation: Adaptation
    facts: Mapping[str, Any]


def load_parts(
    scenario: Scenario,
    config: RunConfig,
    options: Any,
    tell: Reporter,
    folder: Path,
    processes: Processes = ALONE,
) -> Parts:
    """Load data and backbone and attach the method; nothing has been written yet.

    A forked run's backbone is the one that its directory's stages make of it.
    """
    facts = data_facts(
        scenario, lambda name, k, n: tell.step(f"{config.method}: loading {name}", k, n)
    )
    tell.step(f"{config.method}: loading {config.backbone}", 0, 1)
    chosen = config.backbone_options
    device = device_of(chosen.device, processes)
    backbone = load_backbone(
        config.backbone,
        dtype=chosen.dtype,
        device="cpu" if chosen.shard else device,  # a device may not hold all of it
        attention=chosen.attention,
        trust_remote_code=chosen.trust_remote_code,
        max_length=chosen.max_length,
        heads=chosen.heads,
        revision=chosen.revision,
    )
    backbone.heads.seed = config.seed  # of untrained heads too, which the baseline is measured with
    fingerprint = backbone.fingerprint()
    lay_stages(folder, scenario, backbone)
    adaptation = attach_method(backbone, config, options)
    check_optimiser(scenario, backbone, adaptation, config.train)
    facts |= {
        "backbone": {
            "name": config.backbone,
            "family": backbone.family,
            "fingerprint": fingerprint,
        },
        "backbone_revision": backbone.revision,
    }
    if chosen.shard:
        shard(backbone, adaptation, torch.device(device), processes)
    return Parts(backbone=backbone, adaptation=adaptation, facts=facts)
