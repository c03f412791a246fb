"""Every method by name: a plain dict, and one function that answers an unknown name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from continual.adapters.clora import METHOD as CLORA
from continual.adapters.cola import METHOD as COLA
from continual.adapters.curlora import CURLoRA, CURLoRAConfig
from continual.adapters.dora import METHOD as DORA
from continual.adapters.dota import METHOD as DOTA
from continual.adapters.droplora import METHOD as DROPLORA
from continual.adapters.dynamic_dora import METHOD as DYNAMIC_DORA
from continual.adapters.edora import METHOD as EDORA
from continual.adapters.eva import METHOD as EVA
from continual.adapters.flat_lora import METHOD as FLAT_LORA
from continual.adapters.glora import METHOD as GLORA
from continual.adapters.inclora import METHOD as INCLORA
from continual.adapters.lora import METHOD as LORA
from continual.adapters.lora import LoRA, LoRAConfig
from continual.adapters.loretta import METHOD as LORETTA
from continual.adapters.lorta import METHOD as LORTA
from continual.adapters.melora import METHOD as MELORA
from continual.adapters.method import Method
from continual.adapters.mtl_lora import METHOD as MTL_LORA
from continual.adapters.nlora import NLoRA, NLoRAConfig
from continual.adapters.olora import METHOD as OLORA
from continual.adapters.per_task import METHOD as PER_TASK
from continual.adapters.periodic_lora import METHOD as PERIODIC_LORA
from continual.adapters.pica import METHOD as PICA
from continual.adapters.prilora import METHOD as PRILORA
from continual.adapters.qdota import METHOD as QDOTA
from continual.adapters.qr_lora import METHOD as QR_LORA
from continual.adapters.rac_lora import METHOD as RAC_LORA
from continual.adapters.randlora import METHOD as RANDLORA
from continual.adapters.slora import SLoRA, SLoRAConfig
from continual.adapters.sora import METHOD as SORA
from continual.adapters.xgblora import METHOD as XGBLORA
from continual.errors import unknown


@dataclass(frozen=True, kw_only=True)
class NoConfig:
    """A method without settings."""


def _on_lora(
    name: str,
    title: str,
    paper: str,
    summary: str,
    defaults: Mapping[str, Mapping[str, Any]],
    *,
    control: bool,
    learning_rate: float = 0.003,
) -> Method:
    """Return one LoRA under settings of a run that make it another method."""
    return Method(
        name=name,
        title=title,
        paper=paper,
        summary=summary,
        config=LoRAConfig,
        adapter=LoRA,
        trains="adapters",
        learns="A, B",
        learning_rate=learning_rate,
        control=control,
        lora_export=True,
        trained_numbers="r (m + n)",
        defaults=defaults,
    )


_ALL = (
    Method(
        name="full",
        title="Full fine-tuning",
        paper="",
        summary="Every number of the backbone learns; the usual upper bound of forgetting.",
        config=NoConfig,
        adapter=None,
        trains="everything",
        learns="everything",
        learning_rate=3e-4,
        control=True,
        lora_export=False,
        trained_numbers="m n",
    ),
    Method(
        name="frozen",
        title="Frozen backbone",
        paper="",
        summary="Nothing learns: the score that costs nothing and forgets nothing.",
        config=NoConfig,
        adapter=None,
        trains="nothing",
        learns="nothing",
        learning_rate=1e-3,
        control=True,
        lora_export=False,
        trained_numbers="0",
    ),
    Method(
        name="head-only",
        title="Heads only",
        paper="",
        summary="The backbone stays as it is and only the task heads learn (linear probe).",
        config=NoConfig,
        adapter=None,
        trains="heads",
        learns="heads",
        learning_rate=3e-3,
        control=True,
        lora_export=False,
        trained_numbers="0",
    ),
    LORA,
    PER_TASK,
    _on_lora(
        "joint",
        "Joint training",
        "",
        "One LoRA learns all tasks at once, shuffled: what a sequence can at best keep.",
        {"train": {"joint": True}},
        control=True,
    ),
    _on_lora(
        "replay",
        "Experience replay",
        "Chaudhry et al. 2019, arXiv:1902.10486",
        "One LoRA, and some examples of earlier tasks are learned again in every step.",
        {"rehearsal": {"size": 100}},
        control=False,
    ),
    _on_lora(
        "ewc",
        "EWC",
        "Kirkpatrick et al. 2017, arXiv:1612.00796",
        "One LoRA whose numbers are held the more, the more they mattered to old tasks.",
        {"ewc": {"lam": 10000.0}},
        control=False,
    ),
    _on_lora(
        "lwf",
        "LwF",
        "Li and Hoiem 2016, arXiv:1606.09282",
        "One LoRA that goes on answering new examples as it did before the task.",
        {"lwf": {"lam": 1.0}},
        control=False,
    ),
    _on_lora(
        "lora-rite",
        "LoRA-RITE",
        "Yen et al. 2024, arXiv:2410.20625",
        "One LoRA whose steps do not depend on how its product is split into factors.",
        {"train": {"optimiser": "lora-rite"}},
        control=False,
        learning_rate=3e-4,
    ),
    _on_lora(
        "lora-pro",
        "LoRA-Pro",
        "Wang et al. 2024, arXiv:2407.18242",
        "One LoRA whose steps move its product as nearly as they can as full fine-tuning would.",
        {"train": {"optimiser": "lora-pro"}},
        control=False,
        learning_rate=0.001,
    ),
    _on_lora(
        "loko",
        "LoKO",
        "Abdi et al. 2024, arXiv:2410.11551",
        "One LoRA and its heads, estimated by a Kalman filter instead of descending a gradient.",
        {"train": {"optimiser": "loko", "schedule": "constant", "warmup": 0.0, "clip": None}},
        control=False,
        learning_rate=1.0,
    ),
    INCLORA,
    Method(
        name="curlora",
        title="CURLoRA",
        paper="Fawi 2024, arXiv:2408.14572",
        summary="A small core learns between the weight's own weakest columns and rows.",
        config=CURLoRAConfig,
        adapter=CURLoRA,
        trains="adapters",
        learns="U",
        learning_rate=0.03,
        control=False,
        lora_export=True,
        trained_numbers="r²",
    ),
    Method(
        name="nlora",
        title="N-LoRA",
        paper="Yang et al. 2024, arXiv:2410.10179",
        summary="A new sparse pair per task, so that the changes of tasks seldom collide.",
        config=NLoRAConfig,
        adapter=NLoRA,
        trains="adapters",
        learns="A, B of the task",
        learning_rate=0.003,
        control=False,
        lora_export=True,
        trained_numbers="r (m + n)",
    ),
    OLORA,
    Method(
        name="slora",
        title="S-LoRA (SD-LoRA)",
        paper="Wu et al. 2025, arXiv:2501.13198",
        summary="Frozen directions of past tasks whose magnitudes go on learning.",
        config=SLoRAConfig,
        adapter=SLoRA,
        trains="adapters",
        learns="A, B of the task, all α",
        learning_rate=0.003,
        control=False,
        lora_export=True,
        trained_numbers="r (m + n) + t",
    ),
    PICA,
    DROPLORA,
    CLORA,
    FLAT_LORA,
    SORA,
    PRILORA,
    COLA,
    PERIODIC_LORA,
    RAC_LORA,
    XGBLORA,
    MTL_LORA,
    GLORA,
    DORA,
    EDORA,
    QR_LORA,
    RANDLORA,
    MELORA,
    DYNAMIC_DORA,
    EVA,
    DOTA,
    QDOTA,
    LORETTA,
    LORTA,
)
METHODS: dict[str, Method] = {method.name: method for method in _ALL}
ALIASES: dict[str, str] = {"seqlora": "lora", "sdlora": "slora", "sd-lora": "slora"}


def method_named(name: str) -> Method:
    """Return the method of that name or alias.

    Raises:
        InputError: no such method; names the known ones and the nearest.
    """
    known = ALIASES.get(name, name)
    if known not in METHODS:
        raise unknown("method", name, [*METHODS, *ALIASES])
    return METHODS[known]
