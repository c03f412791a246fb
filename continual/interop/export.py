"""From a run directory to what others load: a PEFT LoRA adapter, or whole merged weights."""

import shutil
from pathlib import Path

from continual._torchvision import ensure_torchvision
from continual.adapters import METHODS, Adaptation
from continual.backbone import EMBEDDED, Backbone, load_backbone
from continual.errors import InputError
from continual.interop.peft import export_lora, export_merged
from continual.records import RunRecord

ADAPTER_CONFIG = "adapter_config.json"
TASK_TYPES = {  # PEFT's words; None where it has none that fits
    "causal-lm": "CAUSAL_LM",
    "encoder-decoder": "SEQ_2_SEQ_LM",
    "causal-lm with heads": "CAUSAL_LM",
    "encoder": "FEATURE_EXTRACTION",
    "vision": None,
}


def save_adapter(adaptation: Adaptation, backbone: Backbone, folder: Path) -> None:
    """Write what was learned so far: PEFT LoRA factors where they are exact, else merged weights.

    A method that trains nothing, or heads only, leaves no adapter.

    Args:
        adaptation: the attached method.
        backbone: what it is attached to.
        folder: the directory to write; replaced whole if it is there.
    """
    if adaptation.method.lora_export:
        base = str(EMBEDDED.get(backbone.name, backbone.name))
        export_lora(adaptation, folder, base_model=base, task_type=TASK_TYPES[backbone.family])
    elif adaptation.method.trains in ("adapters", "everything"):
        export_merged(adaptation, backbone.save_pretrained, folder)


def export_run(directory: Path, out: Path, *, form: str, after: int | None = None) -> Path:
    """Write the adapter of a run (``lora``) or its merged model (``merged``) to ``out``.

    Args:
        directory: a run directory.
        out: a new directory.
        form: "lora" or "merged".
        after: take the state after this experience, counted from 0; None takes the last there is.

    Returns:
        The directory written.

    Raises:
        InputError: there is no such state, the method has no such form, or ``out`` is not empty.
    """
    record = RunRecord.open(directory)
    saved = _saved(record, after)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty directory; give OUT a new path.")
    is_lora = (saved / ADAPTER_CONFIG).is_file()
    if form == "lora" and not is_lora:
        raise InputError(
            f"what method {record.method!r} learned has no exact low-rank form, so there is no "
            "LoRA of it; use --to merged."
        )
    if form == "merged" and is_lora:
        _merge(record, saved, out)
    else:
        _copy(saved, out)
    return out


def _saved(record: RunRecord, after: int | None) -> Path:
    trains = METHODS[record.method].trains
    if trains in ("nothing", "heads"):
        raise InputError(
            f"method {record.method!r} trains {trains}: it has no adapter, and the backbone "
            f"{record.backbone!r} itself is what it would serve. There is nothing to export."
        )
    folder = record.path / "adapters"
    found = sorted(folder.glob("after-*")) if folder.is_dir() else []
    if not found:
        raise InputError(
            f"{record.path} has no adapter yet: no experience is finished. Continue it."
        )
    if after is None:
        return found[-1]
    wanted = folder / f"after-{after:02d}"
    if wanted not in found:
        there = [int(path.name.removeprefix("after-")) for path in found]
        raise InputError(f"{record.path} has no state after experience {after}; it has {there}.")
    return wanted


def _copy(saved: Path, out: Path) -> None:
    draft = out.with_name(f".{out.name}.writing")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(saved, draft)
    draft.replace(out)


def _merge(record: RunRecord, saved: Path, out: Path) -> None:
    """Add the exported factors to the base weights with peft itself, in float32."""
    ensure_torchvision()
    from peft import PeftModel

    options = record.config["backbone_options"]
    backbone = load_backbone(
        record.backbone, dtype="float32", trust_remote_code=options["trust_remote_code"]
    )
    merged = PeftModel.from_pretrained(backbone.model, str(saved)).merge_and_unload()
    draft = out.with_name(f".{out.name}.writing")
    shutil.rmtree(draft, ignore_errors=True)
    backbone.save_pretrained(draft, dict(merged.state_dict()))
    if (saved / "heads.safetensors").is_file():
        shutil.copy(saved / "heads.safetensors", draft)
    draft.replace(out)
