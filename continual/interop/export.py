"""From a run directory to what others load: a PEFT LoRA adapter, or whole merged weights."""

import shutil
from pathlib import Path

from safetensors import SafetensorError

from continual._torchvision import ensure_torchvision
from continual.adapters import METHODS, Adaptation
from continual.backbone import Backbone, load_backbone
from continual.errors import InputError
from continual.interop.peft import HEADS, TASK_TYPES, base_name, export_lora, export_merged
from continual.interop.tuners.adaptation import TunerAdaptation
from continual.interop.tuners.attach import save_tuner
from continual.interop.tuners.names import PROMPTS, is_tuner
from continual.records import DamagedFileError, RunRecord, read_json
from continual.records.checksums import require_whole
from continual.records.paths import after_folders

ADAPTER_CONFIG = "adapter_config.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


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
        DamagedFileError: the state is not what the run has written.
    """
    record = RunRecord.open(directory)
    saved = _saved(record, after)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty directory; give OUT a new path.")
    _check_whole(record, saved)
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
    if not path.is_file():
        return None
    config = read_json(path)
    if not isinstance(config, dict) or "peft_type" not in config:
        raise DamagedFileError(f"{path} is damaged: it names no type. Restore it from a copy.")
    return config["peft_type"]


def _check_whole(record: RunRecord, saved: Path) -> None:
    """Raise ``DamagedFileError`` where what is to be exported is not what the run has written.

    Where the tensors are missing, PEFT and transformers would take a pickle in their place.
    """
    for path in sorted(path for path in saved.rglob("*") if path.is_file()):
        require_whole(record.path, path.relative_to(record.path).as_posix())
    weights = [path for path in saved.glob("*.safetensors") if path.name != HEADS]
    pickles = [path.name for path in saved.iterdir() if path.suffix in PICKLES]
    if not weights or pickles:
        raise DamagedFileError(
            f"{saved} does not hold its weights as safetensors"
            f"{' but pickles, which are never read: ' + ', '.join(pickles) if pickles else ''}. "
            "Give the command of the run again: it is made anew, where its state is kept."
        )


def _saved(record: RunRecord, after: int | None) -> Path:
    if "learns" in record.config:  # what a foreign training leaves in run.yaml
        raise InputError(
            f"{record.path} was recorded beside somebody else's training, which saves its model "
            "itself; there is nothing to export."
        )
    trains = "adapters" if is_tuner(record.method) else METHODS[record.method].trains
    if trains in ("nothing", "heads"):
        raise InputError(
            f"method {record.method!r} trains {trains}: it has no adapter, and the backbone "
            f"{record.backbone!r} itself is what it would serve. There is nothing to export."
        )
    folder = record.path / "adapters"
    found = after_folders(folder)
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
        record.backbone,
        dtype="float32",
        trust_remote_code=options["trust_remote_code"],
        revision=record.environment.get("backbone_revision"),  # W as it was trained on
    )
    try:
        adapted = PeftModel.from_pretrained(backbone.model, str(saved))
    except (SafetensorError, TypeError, KeyError, RuntimeError) as error:
        raise DamagedFileError(
            f"{saved} is damaged: PEFT cannot read it ({error}). Give the command of the run "
            "again: it is made anew, where its state is kept."
        ) from error
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
