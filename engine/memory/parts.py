"""How large the parts of a model are, read from the headers of its files: no weights, no torch."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import ModelFileError
from engine.families import keys
from engine.families.families import read_config
from engine.library.entries import ModelEntry, VaeEntry
from engine.library.headers import TensorInfo, read_header
from engine.memory.activations import (
    UnetShape,
    dtype_bytes,
    text_units,
    unet_shape,
    vae_units,
)

_PREFIXES = {
    keys.UNET_PREFIX: "unet",
    keys.VAE_PREFIX: "vae",
    keys.XL_CLIP_PREFIX: "text_encoder",
    keys.XL_OPEN_CLIP_PREFIX: "text_encoder_2",
    keys.CLIP_PREFIX: "text_encoder",
    keys.OPEN_CLIP_PREFIX: "text_encoder",
}
_FORMATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_MEGAPIXEL = 1024 * 1024


@dataclass(frozen=True)
class ModelSizes:
    """A model in numbers.

    Attributes:
        title: for sentences.
        elements: part → numbers in its weights.
        unet: what the UNet holds while it works. vae_units: the decoder, a pixel. text_units: the encoders, a prompt.
        latent_scale: pixels a latent's side. tile_pixels: pixels of a tile when decoding in tiles.
        vae_wide: the VAE computes in float32 where 16 bits would be float16.
        largest_layer: of the UNet, as a share of its weights.
        tiles: whether the VAE can decode in tiles.
        stored: part → the format of most of its weights in the file, torch's name; unknown ones are left out.
    """

    title: str
    elements: Mapping[str, int]
    unet: UnetShape
    vae_units: float
    text_units: float
    latent_scale: int = 8
    tile_pixels: int = 512 * 512
    vae_wide: bool = False
    largest_layer: float = 0.02
    tiles: bool = True
    stored: Mapping[str, str] = field(default_factory=dict)

    def nbytes(self, part: str, dtype: str) -> int:
        """Bytes of a part's weights in a number format; 0 for a part that the model does not have."""
        return int(self.elements.get(part, 0) * dtype_bytes(dtype))

    @property
    def text_parts(self) -> tuple[str, ...]:
        """The text encoders."""
        return tuple(part for part in self.elements if part.startswith("text_encoder"))


def sizes_of(entry: ModelEntry, vae: VaeEntry | None = None) -> ModelSizes:
    """The sizes of a model of the library; takes milliseconds.

    Raises:
        ModelFileError: a file cannot be read, or a config is missing.
    """
    counted = _elements(entry)
    elements = counted.elements
    vae_path = vae.path if vae is not None else entry.vae_path
    if vae_path is not None:
        elements["vae"] = sum(_file_elements(vae_path)[0].values())
    try:
        unet = _config(entry, "unet")
        vae_config = _config(entry, "vae")
        text = sum(text_units(_config(entry, part)) for part in elements if part.startswith("text_encoder"))
        sample = vae_config.get("sample_size") or 512
        side = int(sample if isinstance(sample, int) else max(sample))
        return ModelSizes(
            title=entry.view.title,
            elements=dict(elements),
            unet=unet_shape(unet),
            vae_units=vae_units(vae_config),
            text_units=text,
            latent_scale=int(2 ** (len(vae_config["block_out_channels"]) - 1)),
            tile_pixels=min(side * side, _MEGAPIXEL),
            vae_wide=bool(vae_config.get("force_upcast")),
            largest_layer=_share(counted.largest, elements["unet"]),
            stored=counted.stored,
            tiles=vae_config.get("_class_name") != "AutoencoderTiny" or len(vae_config["block_out_channels"]) == 4,
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ModelFileError(
            "model_parts_missing", f"The settings of {entry.view.title} cannot be read: {error}.", "Fetch it again."
        ) from error


def file_nbytes(path: Path, dtype: str | None = None) -> int:
    """Bytes of a file's weights once loaded in a number format; as they are stored where it is None.

    Raises:
        ModelFileError: it cannot be read.
    """
    if path.suffix != ".safetensors" and path.is_file():
        return path.stat().st_size
    elements, stored = _file_elements(path)
    return stored if dtype is None else int(sum(elements.values()) * dtype_bytes(dtype))


@dataclass
class _Counted:
    """Numbers in each part's weights, how they are stored, and the UNet's largest weight."""

    elements: Counter[str] = field(default_factory=Counter)
    formats: dict[str, Counter[str]] = field(default_factory=dict)
    largest: int = 0

    def add(self, part: str, tensor: TensorInfo) -> None:
        count = math.prod(tensor.shape)
        self.elements[part] += count
        self.formats.setdefault(part, Counter())[tensor.dtype] += count
        if part == "unet":
            self.largest = max(self.largest, count)

    @property
    def stored(self) -> dict[str, str]:
        """Part → torch's name of the format that most of it has."""
        most = {part: formats.most_common(1)[0][0] for part, formats in self.formats.items()}
        return {part: _FORMATS[name] for part, name in most.items() if name in _FORMATS}


def _elements(entry: ModelEntry) -> _Counted:
    counted = _Counted()
    if entry.path.is_dir():
        for part in entry.family.parts:
            for file in _folder_files(entry.path / part):
                for tensor in read_header(file).tensors.values():
                    counted.add(part, tensor)
    elif entry.path.suffix == ".safetensors":
        for name, tensor in read_header(entry.path).tensors.items():
            owner = next((part for prefix, part in _PREFIXES.items() if name.startswith(prefix)), None)
            if owner is not None:
                counted.add(owner, tensor)
    else:
        counted.elements = _guessed(entry)
        counted.largest = counted.elements["unet"] // 50
    return counted


def _guessed(entry: ModelEntry) -> Counter[str]:
    """A pickle's sizes are not read before it is loaded: its length tells the whole, the family the shares."""
    total = entry.path.stat().st_size // 2
    counts = Counter({"unet": int(total * 0.8), "vae": int(total * 0.05)})
    counts["text_encoder"] = total - counts["unet"] - counts["vae"]
    return counts


def _share(largest: int, whole: int) -> float:
    return largest / whole if whole else 0.0


def _folder_files(folder: Path) -> list[Path]:
    """The files that a component's weights are in: one, or the shards of an index; never two variants of the same."""
    if not folder.is_dir():
        return []
    index = next(iter(sorted(folder.glob("*.safetensors.index.json"))), None)
    if index is not None:
        try:
            return [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
        except (OSError, ValueError, KeyError, AttributeError):
            return []
    files = sorted(folder.glob("*.safetensors"), key=lambda file: (".fp16" in file.name, "non_ema" in file.name))
    return files[:1]


def _file_elements(path: Path) -> tuple[dict[str, int], int]:
    """(tensor → numbers in it, bytes as stored) of a safetensors file, or of the first one in a folder."""
    if path.is_dir():
        files = _folder_files(path) or _folder_files(path / "vae")
        if not files:
            return {}, 0
        path = files[0]
    header = read_header(path)
    return {name: math.prod(tensor.shape) for name, tensor in header.tensors.items()}, header.size - header.data_start


def _config(entry: ModelEntry, part: str) -> dict[str, Any]:
    if isinstance(entry.config.get(part), dict):
        return dict(entry.config[part])
    folder = entry.config_dir or (entry.path if entry.path.is_dir() else entry.family.config_dir)
    try:
        return read_config(folder, part)
    except OSError:
        return read_config(entry.family.config_dir, part)
