"""What a run is made of, loaded: data, backbone, the attached method, and the facts about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from continual.adapters import Adaptation
from continual.backbone import Backbone, load_backbone
from continual.runs.attaching import attach_method
from continual.runs.companions import check_pairs
from continual.runs.config import RunConfig
from continual.runs.progress import Reporter
from continual.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A run's loaded parts, and the facts about them that ``environment.json`` records."""

    backbone: Backbone
    adaptation: Adaptation
    facts: Mapping[str, Any]


def load_parts(scenario: Scenario, config: RunConfig, options: Any, tell: Reporter) -> Parts:
    """Load data and backbone and attach the method; nothing has been written yet."""
    data, versions, warnings = {}, {}, []
    for k, task in enumerate(scenario.tasks):
        tell.step(f"{config.method}: loading {task.name}", k, len(scenario.tasks))
        loaded = task.load()
        data[task.name] = loaded.fingerprint
        versions |= loaded.versions
        warnings += loaded.warnings
    tell.step(f"{config.method}: loading {config.backbone}", 0, 1)
    chosen = config.backbone_options
    backbone = load_backbone(
        config.backbone,
        dtype=chosen.dtype,
        device=chosen.device,
        attention=chosen.attention,
        trust_remote_code=chosen.trust_remote_code,
        max_length=chosen.max_length,
        heads=chosen.heads,
    )
    adaptation = attach_method(backbone, config, options)
    check_pairs(adaptation, config.train)
    facts = {
        "data": data,
        "data_versions": versions,
        "data_warnings": warnings,
        "probes": {probe.name: probe.load().fingerprint for probe in scenario.probes},
        "backbone": {
            "name": config.backbone,
            "family": backbone.family,
            "fingerprint": backbone.fingerprint(),
        },
    }
    return Parts(backbone=backbone, adaptation=adaptation, facts=facts)
