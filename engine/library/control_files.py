"""ControlNet files told by their headers: which variant one is, and its shapes. No weights are read, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelFileError
from engine.library.folders import folder_dtype
from engine.library.headers import TensorInfo, read_header
from engine.library.identity import common_dtype
from engine.library.ip_adapters import IpAdapterFacts, ip_adapter_facts, is_ip_adapter
from engine.library.pickles import read_pickle_names
from engine.library.t2i_adapters import T2iFacts, is_t2i_adapter, t2i_facts, t2i_facts_of_config
from engine.protocol.specs import UnitKind

Tensors = Mapping[str, TensorInfo]
# What the original ControlNets and all of diffusers' have; pickles do not tell shapes.
USUAL_HINT_CHANNELS = (16, 32, 96, 256)
UNION_MARKS = ("control_add_embedding.", "task_embedding", "control_type_proj.")
# All that runs of a union ControlNet beside what every ControlNet has.
UNION_PARTS = ("task_embedding", "spatial_ch_projs.weight", "control_add_embedding.linear_1.weight")


@dataclass(frozen=True)
class ControlFacts:
    """Shapes of a ControlNet; 0 and () where the file does not tell.

    Attributes:
        original: names as in the original code (`control_model.…`), else as in diffusers.
        text_width: of the text that it reads. width: of its first convolution.
        hint_channels: `conditioning_embedding_out_channels`: all but the first halve the hint.
        prompt: what it is if it is an IP-Adapter, features: if it is a T2I-Adapter; None for ControlNets.
        dtype: the number format that most of its weights have, by torch's name.
        union: how many types of hints a union ControlNet reads; 0 for those that read one.
    """

    original: bool = False
    text_width: int = 0
    width: int = 0
    hint_channels: tuple[int, ...] = USUAL_HINT_CHANNELS
    prompt: IpAdapterFacts | None = None
    features: T2iFacts | None = None
    union: int = 0
    dtype: str = ""

    @property
    def kind(self) -> UnitKind:
        """Of the units that it is for."""
        return "controlnet" if self.prompt is None else "ip_adapter"

    @property
    def rests(self) -> bool:
        """Whether its weights may rest in fewer bits than they compute in: those of plain ControlNets. The transformer
        of a union reads its weights itself, past the layers that would widen them."""
        return self.prompt is None and self.features is None and not self.union

    @property
    def hint_scale(self) -> int:
        """Pixels of the hint for a latent's side."""
        return self.features.latent_scale if self.features is not None else int(2 ** (len(self.hint_channels) - 1))


def control_problem(tensors: Tensors, file_name: str) -> str:
    """Why a file with such tensors cannot be run, in a sentence; "" where it can.

    Args:
        tensors: of a file that is a ControlNet of some kind.
    """
    if "lora_controlnet" in tensors or any(name.endswith((".down", ".up")) for name in tensors):
        return f"{file_name} is a Control-LoRA, which Easel cannot run yet; take the plain ControlNet of that type."
    if "difference" in tensors:
        return f"{file_name} holds differences to a base model, which Easel cannot run; take the complete ControlNet."
    if any(name.startswith(UNION_MARKS) for name in tensors) and not set(UNION_PARTS) <= tensors.keys():
        return f"{file_name} is a union ControlNet of a variant that Easel does not know; take xinsir's or a plain one."
    if "task_embedding" in tensors and not tensors["task_embedding"].shape:
        return f"{file_name} is a union ControlNet as a pickle; take the .safetensors file of it."
    shapes = [tensors[name].shape for name in UNION_PARTS if name in tensors]
    if any(len(shape) != 2 or 0 in shape for shape in shapes):
        return f"{file_name} is a damaged union ControlNet; fetch it again."
    if any(name.startswith(("transformer_blocks.", "single_transformer_blocks.", "joint_blocks.")) for name in tensors):
        return f"{file_name} is a ControlNet for Flux or SD 3; Easel draws with SD 1.x, 2.x and SDXL."
    return ""


def control_facts(path: Path) -> ControlFacts:
    """Shapes of a ControlNet file or diffusers folder.

    Raises:
        ModelFileError: it cannot be read.
    """
    if path.is_dir():
        return _folder_facts(path)
    if path.suffix.lower() == ".safetensors":
        return facts_of(read_header(path).tensors)
    names = read_pickle_names(path)
    return facts_of(dict.fromkeys(names, TensorInfo("", ())))


def facts_of(tensors: Tensors) -> ControlFacts:
    """Shapes told by a file's header."""
    if is_ip_adapter(tensors):
        found = ip_adapter_facts(tensors)
        return ControlFacts(text_width=found.text_width, prompt=found)
    if is_t2i_adapter(tensors):
        made = t2i_facts({name: info.shape for name, info in tensors.items()})
        return ControlFacts(made.original, 0, made.channels[0] if made.channels else 0, features=made)
    original = not any(name.startswith("controlnet_cond_embedding.") for name in tensors)
    prefix = "control_model." if any(name.startswith("control_model.") for name in tensors) else ""
    if original:
        first, hints = f"{prefix}input_blocks.0.0.weight", f"{prefix}input_hint_block."
        places = [f"{hints}0.weight", *(f"{hints}{number}.weight" for number in range(4, 4 * 16, 4))]
    else:
        first, hints = "conv_in.weight", "controlnet_cond_embedding."
        places = [f"{hints}conv_in.weight", *(f"{hints}blocks.{number}.weight" for number in range(1, 32, 2))]
    channels = [tensors[name].shape[0] for name in places if name in tensors and tensors[name].shape]
    width = tensors[first].shape if first in tensors else ()
    text = next((t.shape[1] for name, t in tensors.items() if name.endswith("attn2.to_k.weight") and t.shape), 0)
    types = tensors["task_embedding"].shape if "task_embedding" in tensors else ()
    return ControlFacts(
        original,
        text,
        width[0] if width else 0,
        tuple(channels) or USUAL_HINT_CHANNELS,
        union=types[0] if types else 0,
        dtype=common_dtype(tensors.values()),
    )


def _folder_facts(folder: Path) -> ControlFacts:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            "model_parts_missing", f"{folder.name} lacks a readable config.json.", "Fetch the folder again."
        ) from error
    if config.get("_class_name") == "T2IAdapter":
        made = t2i_facts_of_config(config)
        return ControlFacts(width=made.channels[0] if made.channels else 0, features=made)
    widths, hints = config.get("block_out_channels"), config.get("conditioning_embedding_out_channels")
    text = config.get("cross_attention_dim")
    return ControlFacts(
        False,
        text if isinstance(text, int) else 0,
        int(widths[0]) if widths else 0,
        tuple(hints) if hints else USUAL_HINT_CHANNELS,
        union=int(config.get("num_control_type") or 0),
        dtype=folder_dtype(folder),
    )
