"""Backbones that do not fit one device: every process holds a part of each block's weights.

It is torch's ``fully_shard`` (FSDP2) over the blocks of the network. Before a block computes, its
weights are gathered from all processes, and let go of afterwards; what learns, the embeddings and
the output layer are whole everywhere. Numbers do not change, so results do not either.

Methods are attached to the whole backbone in host memory and it is split after that, block by
block, so a process needs the whole once there and never twice. A method must not need its weights
afterwards: one that changes or reads W while it learns, or cannot be written down without W, is
refused.
"""

from dataclasses import replace

import torch
from torch import Tensor

from continual.adapters import Adaptation, method_named
from continual.adapters.base import Adapter, Site
from continual.adapters.layer import weight_of
from continual.backbone import Backbone
from continual.backbone.blocks import blocks_of
from continual.errors import InputError
from continual.interop.tuners.names import is_tuner
from continual.processes import Processes
from continual.runs.config import RunConfig


def device_of(name: str, processes: Processes) -> str:
    """Return the device of this process: with cuda, each of a machine has a GPU of its own.

    Raises:
        InputError: one GPU for several processes, fewer GPUs than processes, or nobody knows which
            process of its machine this is.
    """
    if processes.count == 1 or not name.startswith("cuda"):
        return name
    if processes.local is None:
        raise InputError(
            f"backbone.device {name!r} with {processes.count} processes needs LOCAL_RANK in the "
            "environment: which process of its machine this is, and so which GPU it takes. "
            "torchrun and accelerate set it; under srun it is $SLURM_LOCALID."
        )
    there = torch.cuda.device_count()
    if name != "cuda" or processes.local >= there:
        raise InputError(
            f"backbone.device {name!r} cannot serve {processes.count} processes here: give 'cuda', "
            f"and at most as many processes per machine as it has GPUs ({there})."
        )
    torch.cuda.set_device(processes.local)
    return f"cuda:{processes.local}"


def check_shard(config: RunConfig, processes: Processes) -> None:
    """Raise ``InputError`` where ``backbone.shard`` cannot go with the rest of a configuration."""
    if not config.backbone_options.shard:
        return
    if processes.count == 1:
        raise InputError(
            "backbone.shard splits the backbone among several processes and there is one; start "
            "the command with `torchrun --nproc-per-node N -m continual run ...`."
        )
    reason = _refusal(config)
    if reason:
        raise InputError(
            f"backbone.shard cannot go with {reason}. Leave it out, or choose a method as lora, "
            "nlora, slora or curlora are."
        )


def _refusal(config: RunConfig) -> str:
    if is_tuner(config.method):
        return f"PEFT's own tuner {config.method!r}, which puts layers of its own into the blocks"
    method = method_named(config.method)
    if method.trains == "everything":
        return f"method {method.name!r}, which trains the backbone itself"
    if method.trains == "adapters" and not method.lora_export:
        return f"method {method.name!r}, whose result is written as merged weights of the whole"
    if config.train.optimiser == "loko":
        return "train.optimiser 'loko', which goes back through one pass several times"
    if config.train.compile:
        return "train.compile, which compiles blocks whose weights are there"
    if config.ewc.lam > 0 and config.ewc.fisher == "weights":
        return "ewc.fisher 'weights', which keeps numbers as large as the weights"
    return "evaluation.intruders, which decomposes whole weights" * config.evaluation.intruders


def shard(
    backbone: Backbone, adaptation: Adaptation, device: torch.device, processes: Processes
) -> None:
    """Split the weights of every block among all processes and move the rest to ``device``.

    Raises:
        InputError: the method needs the weights, or the network has no blocks.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    blocks = list(blocks_of(backbone.model))
    if not blocks:
        raise InputError(
            f"backbone {backbone.name!r} has no list of blocks that could be split; leave "
            "backbone.shard out."
        )
    let_go(adaptation, device)
    mesh = init_device_mesh(device.type, (processes.count,))
    for block in blocks:
        own = {p for m in block.modules() if isinstance(m, Adapter) for p in m.parameters()}
        before = [p for p in block.parameters() if p not in own]
        block.to(device)
        fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=own)
        for parameter in before:  # who still holds it does not keep its numbers
            parameter.data = parameter.data.new_empty(0)
        assert isinstance(block, FSDPModule), "fully_shard makes it one"
        block.unshard()  # makes room outside of inference mode, whose tensors cannot be learned by
        block.reshard()
    backbone.to(device)
    mark_sharded(backbone, device)


def mark_sharded(backbone: Backbone, device: torch.device) -> None:
    """Let a backbone, and those that it asks for a part of its work, know where they compute."""
    for part in backbone.modules():
        if isinstance(part, Backbone):
            part.device, part.heads.device, part.sharded = device, device, True


def let_go(adaptation: Adaptation, device: torch.device) -> None:
    """Leave adapters the shapes of their weights only.

    Raises:
        InputError: one holds on to its weight.
    """
    held = {
        weight_of(n, one.base).untyped_storage().data_ptr() for n, one in adaptation.layers.items()
    }
    for name, adapter in adaptation.adapters.items():
        for part in adapter.modules():
            kept = [
                v for v in [*vars(part).values(), *part.buffers(False)] if isinstance(v, Tensor)
            ]
            if any(tensor.untyped_storage().data_ptr() in held for tensor in kept):
                raise InputError(
                    f"backbone.shard cannot go with method {adaptation.method.name!r}, which reads "
                    f"the weight of {name!r} while it learns. Leave it out, or choose a method as "
                    "lora, nlora, slora or curlora are."
                )
            for key, site in [(k, v) for k, v in vars(part).items() if isinstance(v, Site)]:
                shape = torch.zeros((), dtype=site.weight.dtype, device=device)
                setattr(part, key, replace(site, weight=shape.expand(site.weight.shape)))
