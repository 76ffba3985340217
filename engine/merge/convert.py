"""An adapter in another spelling or precision: its kind and its numbers stay, keys and dtype change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from engine.adapters.kinds.lora import Lora
from engine.adapters.modules import COMPONENTS, ModuleKey, Targets
from engine.adapters.peft_settings import METADATA_KEY
from engine.errors import MergeError
from engine.library.adapters import adapter_identity
from engine.library.hashing import auto_v3_of
from engine.library.headers import read_header
from engine.merge.files import RecipeFiles, portable
from engine.merge.layouts import file_tensors, peft_metadata
from engine.merge.prepared import targets_for
from engine.merge.progress import Pace
from engine.merge.provenance import provenance, said, with_hash
from engine.merge.sources import AdapterSource, OpenAdapter, adapter_source, opened
from engine.merge.writer import FILE_DTYPES, streamed
from engine.merge.written import alpha_tensor
from engine.protocol.merge import ConvertRecipe
from engine.protocol.merge_reports import MergeProgress, MergeReport

# Only peft spells these, and no other layout has a place for them.
_PEFT_ONLY = {"ia3_l", "oft_R", "boft_R", "boft_s", "lora_up.bias"}


def convertible(recipe: ConvertRecipe, files: RecipeFiles) -> tuple[AdapterSource, Targets, list[ModuleKey]]:
    """The adapter and which of its modules are kept, checked; only its header is read.

    Raises:
        MergeError, AdapterError, ModelFileError: one sentence each.
    """
    path = files.adapters[recipe.input]
    header = read_header(path)
    family = adapter_identity(header.tensors, header.metadata, "").family
    targets = targets_for(recipe.base, files, {path.stem: family})
    source = adapter_source(path, targets, path.stem, header)
    wanted = COMPONENTS if recipe.text_encoders else COMPONENTS[:1]
    keys = [key for key in targets.modules if key in source.matching.modules and key[0] in wanted]
    if not keys:
        raise MergeError("merge_nothing_left", "Without its text encoder nothing of this file is left.", "Keep it.")
    return source, targets, keys


def run_convert(
    recipe: ConvertRecipe, files: RecipeFiles, out: Path, *, replace: bool = False
) -> Iterator[MergeProgress]:
    """Write the converted adapter; yields after every module.

    Raises:
        MergeError, AdapterError, ModelFileError, ConflictError, StorageError: nothing is left behind.
    """
    yield MergeProgress(fraction=0.0, stage="reading")
    source, targets, keys = convertible(recipe, files)
    path, header = source.path, source.header
    told = adapter_identity(header.tensors, header.metadata, "")
    dtype = FILE_DTYPES[recipe.dtype] if recipe.dtype else _own_dtype(told.dtype)
    digest = auto_v3_of(path)
    metadata = {name: value for name, value in header.metadata.items() if name != METADATA_KEY}
    # A file of its own, with a title of its own.
    metadata |= {"modelspec.title": out.stem, "ss_output_name": out.stem}
    metadata |= {**provenance(portable(recipe), [(source.title, digest)]), **said(recipe.metadata)}
    metadata = {name: value for name, value in metadata.items() if value}
    ranks: dict[ModuleKey, int] = {}
    with ExitStack() as stack:
        adapter = stack.enter_context(opened(source, targets))
        pace = Pace("converting", {f"{key[0]}.{key[1]}": 1.0 for key in keys})
        size = path.stat().st_size * (2 if dtype == torch.float32 else 1)
        writer = stack.enter_context(
            streamed(out, tensors=8 * len(keys), metadata=metadata, expected_bytes=size, replace=replace)
        )
        for key in keys:
            tensors = _tensors(adapter, key, targets, recipe, dtype)
            if "lora_down.weight" in tensors:
                ranks[key] = tensors["lora_down.weight"].shape[0]
            for name, tensor in file_tensors(recipe.layout, key, tensors, targets).items():
                writer.add(name, tensor)
            yield pace.done(f"{key[0]}.{key[1]}")
        writer.metadata = with_hash(metadata, writer.auto_v3)
        if recipe.layout == "diffusers":
            writer.metadata[METADATA_KEY] = json.dumps(peft_metadata(ranks), sort_keys=True)
    notices = (f"{source.title}: {source.report.summary}",) if source.report.unmatched else ()
    report = MergeReport(
        task="convert", file=out.name, size_bytes=out.stat().st_size, parameters=writer.parameters,
        family=targets.family, seconds=pace.seconds, auto_v3=writer.auto_v3, notices=notices,
    )  # fmt: skip
    yield MergeProgress(fraction=1.0, stage="done", report=report)


def _tensors(
    adapter: OpenAdapter, key: ModuleKey, targets: Targets, recipe: ConvertRecipe, dtype: torch.dtype
) -> dict[str, Tensor]:
    found = adapter.tensors(key)
    found.pop("alpha", None)
    if recipe.layout == "diffusers":
        return _for_diffusers(adapter, key, found, dtype)
    if strange := sorted(set(found) & _PEFT_ONLY):
        raise MergeError(
            "merge_layout_cannot",
            f"“{strange[0]}” of “{key[1]}” can only be spelt in PEFT's way.",
            "Keep the file as it is, or merge it into a LoRA for a named base model.",
        )
    if (lengths := found.pop("magnitude", None)) is not None:
        ones = [1] * (len(targets.modules[key].shape) - 1)
        found["dora_scale"] = lengths.reshape(-1, *ones)
    # Flags as numbers, so that every tensor stays aligned.
    cast = {name: tensor.to(dtype) for name, tensor in found.items()}
    if (alpha := adapter.alpha(key)) is not None:
        cast["alpha"] = alpha_tensor(alpha, dtype)
    return cast


def _for_diffusers(
    adapter: OpenAdapter, key: ModuleKey, found: dict[str, Tensor], dtype: torch.dtype
) -> dict[str, Tensor]:
    patch = adapter.patch(key)
    if not isinstance(patch, Lora) or patch.bias is not None:
        raise MergeError(
            "merge_layout_cannot",
            f"diffusers' layout has no keys for the {patch.kind} of “{key[1]}”.",
            "Take kohya's or LyCORIS' layout, or merge it into a LoRA.",
        )
    # alpha ÷ rank goes into the up side, since this layout has no alpha; the core into the down side.
    up, down = patch.low_rank()
    kernel = patch.mid.shape[2:] if patch.mid is not None else patch.down.shape[2:]
    ones = [1] * len(kernel)
    return {
        "lora_up.weight": up.reshape(*up.shape, *ones).to(dtype),
        "lora_down.weight": down.reshape(down.shape[0], -1, *kernel).to(dtype),
    }


def _own_dtype(said_dtype: str) -> torch.dtype:
    return FILE_DTYPES.get(said_dtype, torch.float16)
