"""IP-Adapter files told by their headers, and the image encoders that they need. No weights are read, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ControlError
from engine.library.headers import TensorInfo

Tensors = Mapping[str, TensorInfo]
GROUPS = ("image_proj", "ip_adapter")
FAMILIES = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
# Which encoder it is, by the width of what an adapter reads, and where the usual adapters have it from.
ENCODERS = {
    1024: ("CLIP ViT-H/14", "models/image_encoder"),
    1280: ("CLIP ViT-bigG/14", "sdxl_models/image_encoder"),
}
WHOLE_ENCODERS = {1280: ENCODERS[1024], 1664: ENCODERS[1280], 1024: ("CLIP ViT-L/14", "")}
REPO = "h94/IP-Adapter"
FOLDERS = ("image_encoder", "image_encoders", "clip_vision")


@dataclass(frozen=True)
class IpAdapterFacts:
    """What an IP-Adapter's header tells.

    Attributes:
        text_width: of the text beside which its tokens stand. layers: how many cross-attentions it changes.
        encoder_width: of what it reads of the image encoder: of the summary, or of each patch where `whole`.
    """

    text_width: int
    layers: int
    encoder_width: int
    whole: bool

    @property
    def family(self) -> str:
        return FAMILIES.get(self.text_width, "")


def is_ip_adapter(tensors: Tensors) -> bool:
    """Whether these are the tensors of an IP-Adapter."""
    return any(name.startswith("image_proj.") for name in tensors) and any(
        name.startswith("ip_adapter.") for name in tensors
    )


def ip_adapter_facts(tensors: Tensors) -> IpAdapterFacts:
    """What the header of an IP-Adapter tells; 0 where it does not."""
    keys = [name for name in tensors if name.startswith("ip_adapter.") and name.endswith(".to_k_ip.weight")]
    shape = tensors[keys[0]].shape if keys else ()
    places = (("proj.weight", False), ("proj.0.weight", True), ("proj_in.weight", True))
    found = ((tensors[f"image_proj.{name}"].shape, whole) for name, whole in places if f"image_proj.{name}" in tensors)
    width, whole = next(((each[-1], whole) for each, whole in found if each), (0, False))
    return IpAdapterFacts(shape[-1] if shape else 0, len(keys), width, whole)


def ip_adapter_problem(tensors: Tensors, file_name: str) -> str:
    """Why a file with such tensors cannot be run, in a sentence; "" where it can."""
    if not file_name.lower().endswith(".safetensors"):
        return f"{file_name} is an IP-Adapter as a pickle; take the .safetensors file of it."
    face = any(".to_q_lora." in name or name.startswith("image_proj.perceiver_resampler.") for name in tensors)
    if face or ("image_proj.norm.weight" in tensors and "image_proj.proj.2.weight" in tensors and not _full(tensors)):
        return f"{file_name} is an IP-Adapter for faces (FaceID), which needs a face recogniser; take a plain one."
    facts = ip_adapter_facts(tensors)
    if not facts.layers or not facts.encoder_width:
        return f"{file_name} is an IP-Adapter of a kind that Easel does not know."
    return ""


def _full(tensors: Tensors) -> bool:
    return "image_proj.proj.3.weight" in tensors


class EncoderFolders:
    """Finds image encoders beside the adapter, in the models folder, and in the user's hub cache; fetches nothing."""

    def __init__(self, models: Sequence[Path]) -> None:
        self._models = tuple(models)

    def find(self, adapter: Path, facts: IpAdapterFacts) -> Path:
        """The folder of the encoder that an adapter was trained with.

        Raises:
            ControlError: `image_encoder_missing`, with what is needed, where from and where to put it.
        """
        for folder in self._folders(adapter):
            if _width(folder, facts.whole) == facts.encoder_width:
                return folder
        known = (WHOLE_ENCODERS if facts.whole else ENCODERS).get(facts.encoder_width)
        title = known[0] if known else f"an image encoder of width {facts.encoder_width}"
        where = f" (https://huggingface.co/{REPO}, folder {known[1]})" if known and known[1] else ""
        raise ControlError(
            "image_encoder_missing",
            f"{adapter.name} sees pictures through {title}, which is not here{where}.",
            "Put the folder with its config.json and model.safetensors into models/image_encoders.",
        )

    def _folders(self, adapter: Path) -> list[Path]:
        roots = [adapter.parent, adapter.parent.parent, *self._models]
        inside = [root / name for root in roots for name in FOLDERS]
        found = [*inside, *(child for folder in inside if folder.is_dir() for child in sorted(folder.iterdir()))]
        return [folder for folder in [*found, *_cached()] if (folder / "config.json").is_file()]


def _cached() -> list[Path]:
    from huggingface_hub import try_to_load_from_cache

    files = [try_to_load_from_cache(REPO, f"{place}/model.safetensors") for _, place in ENCODERS.values()]
    return [Path(file).parent for file in files if isinstance(file, str)]


def _width(folder: Path, whole: bool) -> int:
    """Of the summary, or of each patch; 0 where it is no image encoder."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    if not isinstance(config, dict) or not any((folder / name).is_file() for name in ("model.safetensors",)):
        return 0
    config = config.get("vision_config") or config
    width = config.get("hidden_size" if whole else "projection_dim")
    return width if isinstance(width, int) and "patch_size" in config else 0
