"""Which sort of adapter a file holds, and of which rank, from the names and shapes of its tensors.

Suffixes: field-notes of kohya's sd-scripts, LyCORIS, diffusers and PEFT (docs/file-formats.md has the table).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from engine.library.added_kinds import added_ending
from engine.library.headers import TensorInfo
from engine.protocol.adapters import AdapterKind

# The last part of a tensor's name (before a plain ".weight" or ".default") → the kind of its module.
_ENDINGS: dict[str, AdapterKind] = {
    "lora_down": "LoRA",
    "lora_A": "LoRA",
    "hada_w1_b": "LoHa",
    "lokr_w1": "LoKr",
    "lokr_w1_b": "LoKr",
    "oft_diag": "OFT",
    "on_input": "(IA)³",
    "b1": "GLoRA",
    "w_norm": "Norm",
    "diff": "Full",
}
_DORA = {"dora_scale", "lora_magnitude_vector"}
# Ends whose tensor's smaller side is the rank.
_RANKED = ("LoRA", "LoHa", "GLoRA")
_LOKR_RANKED = {"lokr_w1_b", "lokr_w2_b"}
# A few modules of another kind beside hundreds (norms, mostly) do not make a file mixed.
_CLEAR = 0.9


def kind_and_rank(tensors: Mapping[str, TensorInfo]) -> tuple[AdapterKind, int | None, int]:
    """The kind of most modules ("mixed" where none has nine tenths), the most frequent rank, how many modules."""
    kinds: Counter[AdapterKind] = Counter()
    ranks: Counter[int] = Counter()
    strangers: set[tuple[str, str]] = set()
    dora = conv = 0
    for name, tensor in tensors.items():
        ending = _ending(name)
        kind = _kind(ending, name, tensor)
        if kind is None and (added := added_ending(name)) is not None:
            # Several tensors of a module have an end of the kind; each module counts once.
            module = (added[0], added[2].title)
            kind = None if module in strangers else added[2].title
            strangers.add(module)
        if kind is not None:
            kinds[kind] += 1
            if kind in _RANKED and tensor.shape:
                ranks[min(tensor.shape[:2])] += 1
            conv += len(tensor.shape) == 4 and tensor.shape[-1] > 1
        if ending in _LOKR_RANKED and tensor.shape:
            ranks[min(tensor.shape[:2])] += 1
        dora += ending in _DORA
    total = kinds.total()
    if not total:
        return "", None, 0
    rank = ranks.most_common(1)[0][0] if ranks else None
    chosen, count = kinds.most_common(1)[0]
    if count < _CLEAR * (total - (kinds["Norm"] if chosen != "Norm" else 0)):
        return "mixed", rank, total
    if dora * 2 > count:
        return "DoRA", rank, total
    return ("LoCon" if chosen == "LoRA" and conv else chosen), rank, total


def _ending(name: str) -> str:
    """The part of a name that says what the tensor is for."""
    head, _, last = name.rpartition(".")
    while last in ("weight", "default") and head:
        head, _, last = head.rpartition(".")
    return last


def _kind(ending: str, name: str, tensor: TensorInfo) -> AdapterKind | None:
    if ending == "oft_blocks":
        return "BOFT" if len(tensor.shape) == 4 else "OFT"
    if ending == "down" and "lora" in name:
        # diffusers' old spelling: `to_q_lora.down.weight`, `lora.down.weight`, `lora_linear_layer.down.weight`.
        return "LoRA"
    return _ENDINGS.get(ending)
