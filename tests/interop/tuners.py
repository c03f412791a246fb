"""PEFT's tuners on the small networks of the adapters' tests."""

import json

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from continual.interop.tuners.adaptation import TunerAdaptation
from continual.interop.tuners.names import ELSEWHERE, PROMPTS, known_tuners
from continual.interop.tuners.settings import tuner_config, tuner_method
from tests.adapters.models import MODELS, TOKENS, begin

SMALL: dict[str, dict[str, object]] = {  # settings that fit width 16
    "adalora": {"total_step": 8, "tfinal": 1, "init_r": 4, "target_r": 2},
    "adaption_prompt": {"adapter_len": 4, "adapter_layers": 2},
    "bone": {"r": 4},
    "c3a": {"block_size": 4},
    "cartridge": {"num_virtual_tokens": 3},
    "eva": {"r": 4},
    "fourierft": {"n_frequency": 10},
    "miss": {"r": 4},
    "p_tuning": {"num_virtual_tokens": 3},
    "prefix_tuning": {"num_virtual_tokens": 3},
    "prompt_tuning": {"num_virtual_tokens": 3},
    "psoft": {"r": 4},
    "road": {"group_size": 4},
    "shira": {"r": 2},
    "trainable_tokens": {"token_indices": [1, 2, 7]},
    "vblora": {"vector_length": 4, "num_vectors": 8},
    "waveft": {"n_frequency": 10},
}
_TRIED = (  # a new version of PEFT may have more: try them and add them to the docs
    "adalora adamss adaption_prompt beft boft bone c3a cartridge deft delora dora eva fourierft "
    "frod glora gralora hira hra ia3 lily ln_tuning loha lokr lora mica miss oft olora osf "
    "p_tuning peanut pissa prefix_tuning prompt_tuning psoft pvera randlora road rslora shira "
    "supertuning tinylora trainable_tokens unilora vblora vera waveft"
)
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {  # of LoRA, by a mapping
    "bdlora": ("lora", {"use_bdlora": {"target_modules_bd_b": ["_proj"], "nblocks": 2}}),
    "kasa": ("lora", {"r": 4, "kasa_config": {"beta": 0.01, "gamma": 0.01}}),
    "velora": ("lora", {"velora_config": {"num_groups": 4}}),
    "velora random": ("lora", {"velora_config": {"num_groups": 4, "init_type": "random"}}),
}
TRIED = frozenset(_TRIED.split())
TUNERS = [name for name, known in known_tuners().items() if not known.why_not]
PROMPTED = [name.lower() for name in PROMPTS]
UNMERGEABLE = [*PROMPTED, "adaption_prompt", "beft", "lily"]  # beft: the layers have no bias
EVERY = [*TUNERS, *VARIANTS]
MERGEABLE = [name for name in EVERY if name not in UNMERGEABLE]
MODES = [
    *[(name, "through") for name in EVERY],
    *[(name, "per_task") for name in EVERY],
    *[(name, "merge") for name in MERGEABLE],
]
TARGETS = {"llama": ["q_proj", "k_proj", "v_proj"], "gpt2": ["c_attn"]}


def tuned(
    name: str, mode: str = "through", *, tasks: int = 0, network: str = "llama", **more: object
) -> TunerAdaptation:
    """A small network with a tuner on it, trained on ``tasks`` tasks."""
    name, own = VARIANTS.get(name, (name, SMALL.get(name, {})))
    config = tuner_config(f"peft:{name}", {**own, "mode": mode, **more})
    elsewhere = config.tuner in (*ELSEWHERE, *PROMPTS)
    adaptation = TunerAdaptation(
        model=MODELS[network](),
        method=tuner_method(f"peft:{name}"),
        config=config,
        heads=nn.Linear(3, 2),
        target_modules=None if elsewhere else TARGETS[network],
        task_type="CAUSAL_LM",
        seed=5,
    )
    for task in range(tasks):
        begin(adaptation, task, lambda: adaptation.model(input_ids=TOKENS))
        learn(adaptation, seed=task)
    return adaptation


def said(adaptation: TunerAdaptation) -> Tensor:
    """What the network says about the fixed tokens, virtual ones left out."""
    with torch.no_grad():
        return adaptation.model(input_ids=TOKENS).logits[:, -TOKENS.shape[1] :]


def learn(adaptation: TunerAdaptation, steps: int = 2, seed: int = 0) -> None:
    """A few real steps of AdamW on random next tokens."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(31, TOKENS.shape, generator=generator)
    optimiser = torch.optim.AdamW(adaptation.trainable().values(), lr=0.02)
    adaptation.model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        logits = adaptation.model(input_ids=TOKENS, use_cache=False).logits[:, -TOKENS.shape[1] :]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        heads = sum(p.square().sum() for p in adaptation.heads.parameters())
        (loss + heads + adaptation.penalty()).backward()
        optimiser.step()
        adaptation.after_step(0.02)
    adaptation.model.eval()


def kept_elsewhere(module: nn.Module) -> dict[str, Tensor]:
    """Tensors that modules hold as plain attributes, which no state dict would ever show."""
    known = {id(t) for t in [*module.parameters(), *module.buffers()]}
    found: dict[str, Tensor] = {}
    for path, one in module.named_modules():
        waiting = [(f"{path}.{key}", value) for key, value in vars(one).items() if key[0] != "_"]
        while waiting:
            name, value = waiting.pop()
            if isinstance(value, Tensor) and id(value) not in known:
                found[name] = value
            elif isinstance(value, dict):
                waiting += [(f"{name}.{key}", inner) for key, inner in value.items()]
            elif isinstance(value, list | tuple):
                waiting += [(f"{name}.{k}", inner) for k, inner in enumerate(value)]
    return found


def check(folder: str) -> None:
    """What the other process does: print whether each tuner gives the same bits."""
    torch.manual_seed(987)
    outputs = load_file(f"{folder}/outputs.safetensors")
    same = {}
    for key, expected in outputs.items():
        adaptation = tuned(*key.split("-"))
        adaptation.load_state(load_file(f"{folder}/{key}.safetensors"))
        same[key] = torch.equal(said(adaptation), expected)
    print(json.dumps(same))
