"""Full-size models of random weights in the original layout: slow, and the proof that real checkpoints load.

SD 1.5 is written whole (float16, 2.1 GB), loaded and denoises a step. SDXL is checked by names and shapes on the meta
device: its file would be 7 GB.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.families import keys
from engine.families.families import family
from engine.library.models import FamilyConfigs, Naming, build_entry
from engine.library.scan import Found
from engine.loading.components import build
from engine.loading.layouts import candidates
from engine.loading.loader import load_component, nbytes
from engine.loading.torchvision_guard import guard_torchvision

from .conftest import EntryOf

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def original_shapes(family_id: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a full-size checkpoint in the original layout."""
    each = family(family_id)
    shapes: dict[str, tuple[int, ...]] = {}
    for part in each.parts:
        if part in {"unet", "vae", "text_encoder", "text_encoder_2"}:
            for name, value in build(part, each.config(part), family_id).state_dict().items():
                place, shape = _place(family_id, part, name, each.config(part)), tuple(value.shape)
                if place.form == "rows":
                    shape = (shape[0] * 3, *shape[1:])
                elif place.form == "squeeze":
                    shape = (*shape, 1, 1)
                elif place.form == "transpose":
                    shape = shape[::-1]
                shapes[place.name] = shape
    return shapes


def _place(family_id: str, part: str, name: str, config: dict[str, Any]) -> keys.Rename:
    if part == "unet":
        return keys.unet_name(name, config)
    if part == "vae":
        return keys.vae_name(name, config)
    if part == "text_encoder_2":
        return keys.open_clip_name(name)
    return keys.clip_name(name, keys.XL_CLIP_PREFIX if family_id == "sdxl" else keys.CLIP_PREFIX)


def write_random(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """Stream a float16 checkpoint of small random numbers to the disk, without holding it in memory."""
    header: dict[str, Any] = {}
    place = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = torch.Generator().manual_seed(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            file.write((torch.randn(math.prod(shape), generator=generator) * 0.02).half().numpy().tobytes())
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = write_random(tmp_path_factory.mktemp("full") / "sd15.safetensors", original_shapes("sd1"))
    yield path
    path.unlink()


def test_the_sd15_layout_has_its_well_known_names() -> None:
    shapes = original_shapes("sd1")
    # The public v1-5-pruned-emaonly.safetensors has these, besides schedule buffers and position ids.
    assert sum(name.startswith("model.diffusion_model.") for name in shapes) == 686
    assert sum(name.startswith("first_stage_model.") for name in shapes) == 248
    assert sum(name.startswith("cond_stage_model.") for name in shapes) == 196
    assert shapes["model.diffusion_model.output_blocks.11.0.skip_connection.weight"] == (320, 640, 1, 1)
    assert shapes["first_stage_model.decoder.mid.attn_1.q.weight"] == (512, 512, 1, 1)


def test_full_size_sd15_loads_offline_and_denoises_a_step(
    checkpoint: Path, entry_of: EntryOf, no_network: None
) -> None:
    entry = entry_of(checkpoint)
    assert (entry.view.problem, entry.family.id, entry.view.dtype) == ("", "sd1", "float16")
    ids = load_component(entry, "tokenizer")("a photo of a cat", return_tensors="pt", padding="max_length").input_ids
    with torch.no_grad():
        text = load_component(entry, "text_encoder", dtype=torch.float32)(ids).last_hidden_state
        assert text.shape == (1, 77, 768)
        unet = load_component(entry, "unet", dtype=torch.float32)
        assert nbytes(unet) == 4 * 859_520_964
        noise = unet(torch.zeros(1, 4, 16, 16), 500, encoder_hidden_states=text).sample
        assert noise.shape == (1, 4, 16, 16)
        assert noise.isfinite().all()
        del unet
        picture = load_component(entry, "vae", dtype=torch.float32).decode(torch.zeros(1, 4, 8, 8)).sample
        assert picture.shape == (1, 3, 64, 64)


def test_full_size_sdxl_every_weight_has_its_name_and_shape(tmp_path: Path) -> None:
    """A header-only SDXL file (the data is a hole in the disk) is identified; every weight of every part is in it."""
    shapes = original_shapes("sdxl")
    assert sum(name.startswith("model.diffusion_model.") for name in shapes) == 1680
    header: dict[str, Any] = {}
    place = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    path = tmp_path / "sdxl.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + place)
    from engine.library.layouts import FoundFolder
    from engine.library.scan import look_at

    found: Found = look_at(path, FoundFolder("checkpoint", tmp_path, ""))
    entry = build_entry(found, Naming("sdxl"), FamilyConfigs())
    assert (entry.view.problem, entry.family.id, entry.view.size_bytes) == ("", "sdxl", path.stat().st_size)
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        config = entry.config[part]
        look = candidates(part, config, single_file=True)
        for name, value in build(part, config, "sdxl").state_dict().items():
            here = next(place for place in look(name) if place.name in shapes)
            assert _size(shapes[here.name], here) == value.numel(), name


def _size(shape: tuple[int, ...], place: keys.Rename) -> int:
    return math.prod(shape) // (3 if place.form == "rows" else 1)


@pytest.mark.parametrize("family_id", ["sd1", "sdxl"])
def test_the_full_size_layout_is_the_one_that_diffusers_converts_from(family_id: str) -> None:
    guard_torchvision()
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    original = {
        name: torch.empty(shape, device="meta", dtype=torch.float16)
        for name, shape in original_shapes(family_id).items()
    }
    for part, convert in (("unet", convert_ldm_unet_checkpoint), ("vae", convert_ldm_vae_checkpoint)):
        module: Any = build(part, family(family_id).config(part), family_id)
        read = convert(original, module.config)
        wanted = module.state_dict()
        assert read.keys() == wanted.keys()
        assert all(read[name].shape == wanted[name].shape for name in wanted)
