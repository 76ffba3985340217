"""Where the weights of a component lie in a file: candidates of names for every weight that the component has.

A component asks for its weights by diffusers' names. Files spell them in several ways; each weight's candidates are
tried in order, and a weight that is found under none of them is missing. Nothing is ever left at random values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from engine.families import keys
from engine.families.keys import Rename
from engine.loading.weights import Weights

Candidates = Callable[[str], Iterator[Rename]]
_OLD_ATTENTION = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


def candidates(part: str, config: Mapping[str, Any], *, single_file: bool) -> Candidates:
    """How to look for the weights of `part`: in a diffusers folder, or in an original single file."""
    if not single_file:
        return _folder_vae if part == "vae" else _folder_text if part.startswith("text_encoder") else _folder
    if part == "unet":
        return lambda name: _known(lambda: keys.unet_name(name, config))
    if part == "vae":
        return lambda name: _single_vae(name, config)
    if part == "text_encoder_2":
        return lambda name: _known(lambda: keys.open_clip_name(name, keys.XL_OPEN_CLIP_PREFIX))
    return _single_text


def read_state(weights: Weights, wanted: Mapping[str, torch.Tensor], look: Candidates) -> dict[str, torch.Tensor]:
    """The weights that are there, under the wanted names. `wanted` gives names (and shapes, on the meta device)."""
    present = weights.names()
    state: dict[str, torch.Tensor] = {}
    for name, shape_of in wanted.items():
        for place in look(name):
            if place.name in present:
                state[name] = _shaped(weights.get(place.name), place, shape_of)
                break
    return state


def _shaped(tensor: torch.Tensor, place: Rename, wanted: torch.Tensor) -> torch.Tensor:
    if place.form == "rows":
        rows = tensor.shape[0] // 3
        return tensor[place.third * rows : (place.third + 1) * rows]
    if place.form == "transpose":
        return tensor.T.contiguous()
    if tensor.ndim != wanted.ndim and tensor.numel() == wanted.numel():
        # 1×1 convolutions that are matrices here (the VAE's attention), or the other way round (linear projections).
        return tensor.reshape(wanted.shape)
    return tensor


def _folder(name: str) -> Iterator[Rename]:
    yield Rename(name)


def _folder_text(name: str) -> Iterator[Rename]:
    yield Rename(name)
    # Written by a transformers that leaves the prefix away: the same weights, so they are taken.
    yield Rename(name.removeprefix("text_model."))


def _folder_vae(name: str) -> Iterator[Rename]:
    yield Rename(name)
    for new, old in _OLD_ATTENTION.items():
        if "attentions" in name and new in name:
            yield Rename(name.replace(new, old))


def _single_vae(name: str, config: Mapping[str, Any]) -> Iterator[Rename]:
    for prefix in (keys.VAE_PREFIX, "vae.", ""):
        yield from _known(lambda prefix=prefix: keys.vae_name(name, config, prefix))  # type: ignore[misc]
    yield from _folder_vae(name)


def _single_text(name: str) -> Iterator[Rename]:
    for prefix in (keys.CLIP_PREFIX, keys.XL_CLIP_PREFIX):
        yield keys.clip_name(name, prefix)
        # Some pruned files left the inner prefix away.
        yield keys.clip_name(name.removeprefix("text_model."), prefix)
    yield from _known(lambda: keys.open_clip_name(name, keys.OPEN_CLIP_PREFIX))


def _known(rename: Callable[[], Rename]) -> Iterator[Rename]:
    try:
        yield rename()
    except KeyError:
        return
