"""From a run directory to what others load: a PEFT LoRA adapter, or whole merged weights."""

import json
import shutil
from pathlib import Path

from continual._torchvision import ensure_torchvision
from continual.adapters import METHODS, Adaptation
from continual.backbone import Backbone, load_backbone
from continual.errors import InputError
from continual.interop.peft import TASK_TYPES, base_name, export_lora, export_merged
from continual.interop.tuners.adaptation import TunerAdaptation
from continual.interop.tuners.attach import save_tuner
from continual.interop.tuners.names import PROMPTS, is_tuner
from continual.records import RunRecord

ADAPTER_CONFIG = "adapter_config.json"


def save_adapter(adaptation: Adaptation, backbone: Backbone, folder: Path) -> None:
    """Write what was learned so far: PEFT LoRA factors where they are exact, else merged weights.

    One of PEFT's tuners writes PEFT's own directory, or merged weights where it has changed the
    backbone. A method that trains nothing, or heads only, leaves no adapter.

    Args:
        adaptation: the attached method.
        backbone: what it is attached to.
        folder: the directory to write; replaced whole if it is there.
    """
    if isinstance(adaptation, TunerAdaptation):
        save_tuner(adaptation, backbone, folder)
    elif adaptation.method.lora_export:
        task_type = TASK_TYPES[backbone.family]
        export_lora(adaptation, folder, base_model=base_name(backbone), task_type=task_type)
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
    tuner = _tuner_of(saved)
    if form == "lora" and tuner != "LORA":
        raise InputError(
            f"what method {record.method!r} learned has no exact low-rank form, so there is no "
            "LoRA of it; use --to merged."
        )
    if form == "merged" and tuner in PROMPTS:
        raise InputError(
            f"what method {record.method!r} learned is no change of weights, so there is nothing "
            f"to merge; PEFT's own adapter directory is {saved}."
        )
    if form == "merged" and tuner is not None:
        _merge(record, saved, out)
    else:
        _copy(saved, out)
    return out


def _tuner_of(saved: Path) -> str | None:
    """Return PEFT's type of an adapter directory; None: it holds merged weights."""
    path = saved / ADAPTER_CONFIG
    return json.loads(path.read_text("utf-8"))["peft_type"] if path.is_file() else None


def _saved(record: RunRecord, after: int | None) -> Path:
    trains = "adapters" if is_tuner(record.method) else METHODS[record.method].trains
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
    adapted = PeftModel.from_pretrained(backbone.model, str(saved))
    try:
        merged = adapted.merge_and_unload()
    except (NotImplementedError, AttributeError, ValueError) as error:
        raise InputError(
            f"PEFT cannot merge what method {record.method!r} learned: {error} Its own adapter "
            f"directory is {saved}."
        ) from error
    draft = out.with_name(f".{out.name}.writing")
    shutil.rmtree(draft, ignore_errors=True)
    backbone.save_pretrained(draft, dict(merged.state_dict()))
    if (saved / "heads.safetensors").is_file():
        shutil.copy(saved / "heads.safetensors", draft)
    draft.replace(out)
