"""Take what was learned elsewhere: a standard PEFT LoRA directory, or merged weights.

Both are written without importing peft: the LoRA directory holds the method's own factors, their
scale folded in (``lora_alpha = r``), so plain ``PeftModel.from_pretrained`` gives the same outputs
for every method whose ΔW has an exact low-rank form. No decomposition is involved.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from continual.adapters import Adaptation
from continual.adapters.layer import is_conv1d
from continual.backbone import EMBEDDED, Backbone
from continual.errors import InputError
from continual.interop.folders import CARD, MARK, whole_folder

HEADS = "heads.safetensors"
TASK_TYPES = {  # PEFT's words for families; None where it has none that fits
    "causal-lm": "CAUSAL_LM",
    "encoder-decoder": "SEQ_2_SEQ_LM",
    "causal-lm with heads": "CAUSAL_LM",
    "encoder": "FEATURE_EXTRACTION",
    "vision": None,
}


def export_lora(
    adaptation: Adaptation, out: Path, *, base_model: str, task_type: str | None = None
) -> None:
    """Write a PEFT LoRA directory by factors; task heads, if there are any, lie beside them.

    Args:
        adaptation: attached to the model that PEFT will wrap.
        out: the directory to write, whole or not at all; an earlier export there is replaced.
        base_model: name or path of the backbone, for those who load the adapter by itself.
        task_type: PEFT's word, such as "CAUSAL_LM"; None for a model that PEFT need not know.

    Raises:
        InputError: no adapter, no exact low-rank form, or ``out`` holds something else.
    """
    method = adaptation.method
    if method.adapter is None or not method.lora_export:
        raise InputError(
            f"method {method.name!r} has no exact low-rank form, so it cannot be exported as LoRA; "
            "use --to merged for whole weights."
        )
    factors = {name: _factors(adaptation, name) for name in adaptation.adapters}
    tensors = {}
    for name, (B, A) in factors.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = A
        tensors[f"base_model.model.{name}.lora_B.weight"] = B
    ranks = {name: A.shape[0] for name, (_, A) in factors.items()}
    config = _config(adaptation, ranks) | {
        "base_model_name_or_path": str(base_model),
        "task_type": task_type,
    }
    with whole_folder(out) as folder:
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        text = json.dumps(config, indent=2, sort_keys=True)
        (folder / "adapter_config.json").write_text(text + "\n", "utf-8")
        save_heads(adaptation, folder)
        write_card(adaptation, folder, library="peft", base_model=str(base_model))


def merged_state(adaptation: Adaptation) -> dict[str, Tensor]:
    """Return W + ΔW of every adapted weight under its original name, layout and dtype.

    Summed in float32 (float64 where W is) and rounded once. The live model is not touched.

    Raises:
        InputError: an adapted weight is tied to another module's, which must stay as it is.
    """
    merged: dict[str, Tensor] = {}
    with adaptation.unwrapped() as bases:
        live = adaptation.model.state_dict(keep_vars=True)
        modules = adaptation.model.named_modules(remove_duplicate=False)
        owners = {f"{name}.weight": module for name, module in modules}
        for name, base in bases.items():
            adapter, weight = adaptation.adapters[name], base.get_parameter("weight")
            for key in [key for key, tensor in live.items() if tensor is weight]:
                if owners[key] is not base:
                    raise InputError(
                        f"the adapted weight of {name!r} is also {key!r}, so it cannot be merged "
                        "without changing that too; export LoRA factors instead."
                    )
                delta = adapter.delta_weight()
                merged[key] = _sum(weight, delta.T if is_conv1d(base) else delta)
                if (change := adapter.delta_bias()) is not None:
                    bias_key = key.removesuffix("weight") + "bias"
                    merged[bias_key] = _sum(base.get_parameter("bias"), change)
    return merged


def export_merged(
    adaptation: Adaptation, save: Callable[[Path, dict[str, Tensor] | None], None], out: Path
) -> None:
    """Write the whole model with ΔW added into its weights, as plain transformers loads it.

    Args:
        adaptation: attached to the model; it is the same before and after.
        save: writes a directory from complete weights under the model's original names, such as
            a backbone's ``save_pretrained``. The model has its original modules while it runs.
        out: the directory to write, whole or not at all; an earlier export there is replaced.

    Raises:
        InputError: tied weights (see ``merged_state``), or ``out`` holds something else.
    """
    merged = merged_state(adaptation)
    with whole_folder(out) as folder:
        with adaptation.unwrapped():
            save(folder, adaptation.model.state_dict() | merged)
        save_heads(adaptation, folder)
        write_card(adaptation, folder, library="transformers", base_model=None)


def _factors(adaptation: Adaptation, name: str) -> tuple[Tensor, Tensor]:
    factors = adaptation.adapters[name].factors()
    assert factors is not None, f"{adaptation.method.name} declares lora_export"
    B, A = (factor.detach().to("cpu", torch.float32, copy=True) for factor in factors)
    return B.contiguous(), A.contiguous()


def _config(adaptation: Adaptation, ranks: Mapping[str, int]) -> dict[str, Any]:
    rank = max(ranks.values())
    others = {name: r for name, r in ranks.items() if r != rank}
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": _target_modules(adaptation),
        "fan_in_fan_out": any(is_conv1d(layer.base) for layer in adaptation.layers.values()),
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "layers_to_transform": None,
    }


def _target_modules(adaptation: Adaptation) -> list[str]:
    with adaptation.unwrapped():
        return short_names(adaptation.layers, [n for n, _ in adaptation.model.named_modules() if n])


def short_names(layers: Iterable[str], every: Iterable[str]) -> list[str]:
    """Return last names, as servers expect, where they mean exactly the layers; else all names.

    Args:
        layers: full names of the adapted layers.
        every: full names of all modules of the network.
    """
    chosen = set(layers)
    short = {name.rpartition(".")[2] for name in chosen}
    meant = {name for name in every if name.rpartition(".")[2] in short}
    return sorted(short if meant == chosen else chosen)


def base_name(backbone: Backbone) -> str:
    """Return how others load a backbone: its path if it is embedded, else its own name."""
    return str(EMBEDDED.get(backbone.name, backbone.name))


@torch.no_grad()
def _sum(frozen: Tensor, change: Tensor) -> Tensor:
    wide = torch.promote_types(frozen.dtype, torch.float32)
    return (frozen.to(wide) + change.to(frozen.device, wide)).to(frozen.dtype).contiguous()


def save_heads(adaptation: Adaptation, folder: Path) -> None:
    """Write the task heads, if there are any, into an export's folder."""
    heads = adaptation.heads.state_dict() if adaptation.heads is not None else {}
    if heads:
        tensors = {n: t.detach().to("cpu", copy=True).contiguous() for n, t in heads.items()}
        save_file(tensors, folder / HEADS, metadata={"format": "pt"})


def write_card(
    adaptation: Adaptation, folder: Path, *, library: str, base_model: str | None
) -> None:
    """Write the card of an export, which also marks the folder as one of ours."""
    method = adaptation.method
    base = f"base_model: {json.dumps(base_model)}\n" if base_model is not None else ""
    paper = f" ({method.paper})" if method.paper else ""
    heads = f"\nThe task heads are in `{HEADS}`.\n" if (folder / HEADS).exists() else ""
    text = (
        f"---\nlibrary_name: {library}\n{base}{MARK}{method.name}]\n---\n\n"
        f"# {method.title}{paper}\n\n{method.summary} "
        f"Taken after {adaptation.task + 1} task(s) of a continual sequence.\n{heads}"
    )
    (folder / CARD).write_text(text, "utf-8")
