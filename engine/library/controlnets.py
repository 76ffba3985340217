"""ControlShelf: the library's ControlNets, their types, and whether one fits a model. No weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import ControlError, ModelFileError, SpecError
from engine.library.control_files import ControlFacts, control_facts
from engine.library.control_types import control_type, type_of_name, union_types
from engine.library.control_weights import suited_weights
from engine.library.entries import ModelEntry
from engine.library.ip_adapters import EncoderFolders
from engine.library.library import Library
from engine.library.names import nearest
from engine.library.stamps import stamp_if_there
from engine.protocol.controls import ControlNetView
from engine.protocol.library import FileView
from engine.protocol.specs import UnitKind

FAMILY_TITLES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL"}


@dataclass(frozen=True)
class ControlEntry:
    """A ControlNet of the library. `stamp` changes when the file does."""

    view: FileView
    path: Path
    type: str
    facts: ControlFacts
    stamp: str


class ControlShelf:
    """The library's ControlNets."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def views(self, model: ModelEntry | None = None) -> list[ControlNetView]:
        """All of them, by title; with a model, whether each fits it."""
        return [self._view(file, model) for file in self._library.files("controlnet")]

    def find(self, name: str, kind: UnitKind | None = None) -> ControlEntry:
        """The ControlNet or IP-Adapter of that id, title, file name or hash.

        Args:
            kind: what it has to be; None takes either.

        Raises:
            ControlError: `control_unknown`, `control_unsupported`.
            ModelFileError: it cannot be read.
        """
        files = {file.id: file for file in self._library.files("controlnet")}
        try:
            path = self._library.path_of("controlnet", name)
        except SpecError as error:
            raise ControlError(
                "control_unknown", f"There is no ControlNet “{name[:100]}”.", self._hint(name, kind)
            ) from error
        view = next((file for file in files.values() if self._library.path_of("controlnet", file.id) == path), None)
        if view is None or view.problem:
            problem = view.problem if view is not None else f"{path.name} is gone."
            raise ControlError("control_unsupported", problem, "Choose another ControlNet.")
        stamp = _stamp(path)
        facts = _facts(path, stamp)
        entry = ControlEntry(view, path, _type(facts, path, view.title), facts, stamp)
        if kind is not None and facts.kind != kind:
            raise _wrong_kind(entry, kind)
        return entry

    def ip_adapters(self, model: ModelEntry) -> list[ControlNetView]:
        """Those that fit a model."""
        return [view for view in self.views(model) if view.kind == "ip_adapter" and view.fits and not view.problem]

    def encoder(self, entry: ControlEntry) -> Path:
        """The folder of the image encoder that an IP-Adapter sees through.

        Raises:
            ControlError: `control_unsupported`, it is none; `image_encoder_missing`.
        """
        if entry.facts.prompt is None:
            raise _wrong_kind(entry, "ip_adapter")
        models = [folder.parent for folder in self._library.model_folders()]
        return EncoderFolders(models).find(entry.path, entry.facts.prompt)

    def _hint(self, name: str, kind: UnitKind | None) -> str:
        for adapter in self._library.files("adapter"):
            if name.casefold() in (adapter.id.casefold(), adapter.title.casefold()):
                return f"{adapter.title} is a LoRA or LyCORIS file: it belongs into the stack of adapters."
        usable = [view.id for view in self.views() if not view.problem and kind in (None, view.kind)]
        if not usable:
            return "There is none that can be used: put ControlNet files into models/controlnet."
        return nearest(name, usable)

    def _view(self, file: FileView, model: ModelEntry | None) -> ControlNetView:
        path = self._library.path_of("controlnet", file.id)
        facts, problem, wrong = ControlFacts(), file.problem, ""
        if not problem:
            try:
                facts = control_facts_at(path)
                wrong = misfit(file, facts, model) if model is not None else ""
            except ModelFileError as error:
                problem = error.message
        kind = control_type(_type(facts, path, file.title))
        suited = suited_weights(kind, file.advised)
        return ControlNetView(
            id=file.id,
            title=file.title,
            kind=facts.kind,
            file=path.name,
            family=file.family,
            type=kind.id,
            hint_types=union_types(facts.union),
            weight=suited.weight,
            low=suited.low,
            high=suited.high,
            size_bytes=file.size_bytes,
            hash=file.hash,
            problem=problem,
            fits=None if model is None or problem else not wrong,
            misfit=wrong,
            remark=file.remark or suited.remark,
        )


def unread_type(entry: ControlEntry, type_id: str) -> ControlError:
    """A union ControlNet cannot read a hint of that type; "" says that the unit does not tell which it is."""
    titles = ", ".join(control_type(each).title for each in union_types(entry.facts.union))
    said = control_type(type_id).title if type_id else ""
    return ControlError(
        "control_type_unknown",
        f"{entry.view.title} does not read hints of the type {said}."
        if said
        else f"{entry.view.title} reads several types of hints, and the unit does not say which its picture is.",
        f"Choose one of its types: {titles}.",
    )


def _wrong_kind(entry: ControlEntry, kind: UnitKind) -> ControlError:
    titles = {"controlnet": "a ControlNet", "ip_adapter": "an IP-Adapter", "reference": "a reference"}
    return ControlError(
        "control_unsupported",
        f"{entry.view.title} is {titles[entry.facts.kind]}, and the unit is for {titles[kind]}.",
        "Choose the other kind for the unit, or another file.",
    )


def control_facts_at(path: Path) -> ControlFacts:
    """What a file's header (a folder's config) tells, read once for each of its states. Raises ModelFileError."""
    return _facts(path, _stamp(path))


@lru_cache(maxsize=512)
def _facts(path: Path, stamp: str) -> ControlFacts:
    return control_facts(path)


def _type(facts: ControlFacts, path: Path, title: str) -> str:
    if facts.union:
        return ""
    return "ip_adapter" if facts.prompt is not None else type_of(path, title)


def type_of(path: Path, title: str) -> str:
    """The type that the names tell: the file's, its title's, its folder's."""
    names = (path.name if path.is_dir() else path.stem, title)
    # diffusers' file name says nothing; the folder around it does.
    return type_of_name(*names) or (type_of_name(path.parent.name) if names[0].startswith("diffusion_") else "")


def misfit(view: FileView, facts: ControlFacts, model: ModelEntry) -> str:
    """Why a ControlNet cannot work on a model, in a sentence; "" where it can."""
    other, own = FAMILY_TITLES.get(view.family), FAMILY_TITLES.get(model.family.id)
    if other and own and other != own:
        return f"{view.title} is for {other}, the model is {own}."
    unet, title = _config(model, "unet"), model.view.title
    wanted = unet.get("cross_attention_dim")
    if facts.text_width and isinstance(wanted, int) and facts.text_width != wanted:
        return f"{view.title} was made for another model: it reads text of width {facts.text_width}, {title} {wanted}."
    if facts.prompt is not None:
        layers = cross_attentions(unet)
        if layers and facts.prompt.layers != layers:
            return (
                f"{view.title} was made for another model: it changes {facts.prompt.layers} attention layers, {title} "
                f"has {layers}."
            )
        return ""
    channels = tuple(unet.get("block_out_channels") or (0,))
    if facts.width and channels[0] and facts.width != channels[0]:
        return f"{view.title} was made for another model: it is {facts.width} channels wide, {title} {channels[0]}."
    widths = facts.features.widths if facts.features is not None else ()
    if widths and widths[: len(channels)] != channels:
        return f"{view.title} was made for another model: the features of {title} have other widths."
    blocks = _config(model, "vae").get("block_out_channels")
    scale = 2 ** (len(blocks) - 1) if blocks else 0
    if scale and facts.hint_scale and facts.hint_scale != scale:
        return (
            f"{view.title} was made for another model: its latents are {facts.hint_scale} times smaller than the "
            f"picture, those of {title} {scale} times."
        )
    return ""


def cross_attentions(unet: Mapping[str, Any]) -> int:
    """How many times a UNet of that config looks at its text; 0 where the config does not tell."""
    down, up = unet.get("down_block_types") or (), unet.get("up_block_types") or ()
    count = len(down)
    layers, depth = unet.get("layers_per_block", 2), unet.get("transformer_layers_per_block") or 1
    layers = [layers] * count if isinstance(layers, int) else list(layers)
    depth = [depth] * count if isinstance(depth, int) else list(depth)
    if len(depth) != count or len(layers) != count or any(not isinstance(each, int) for each in depth):
        return 0
    total = sum(layers[place] * depth[place] for place, kind in enumerate(down) if "CrossAttn" in kind)
    total += sum((layers[-1 - place] + 1) * depth[-1 - place] for place, kind in enumerate(up) if "CrossAttn" in kind)
    return total + (depth[-1] if "CrossAttn" in (unet.get("mid_block_type") or "UNetMidBlock2DCrossAttn") else 0)


def _config(model: ModelEntry, part: str) -> dict[str, Any]:
    found = model.config.get(part)
    if isinstance(found, dict):
        return found
    try:
        return model.family.config(part)
    except (OSError, ValueError):
        return {}


def _stamp(path: Path) -> str:
    """Of a folder the config tells the facts, so it counts too."""
    return f"{stamp_if_there(path)};{stamp_if_there(path / 'config.json')}" if path.is_dir() else stamp_if_there(path)
