"""open_model: a library entry becomes a bundle of leased components."""

from __future__ import annotations

import pytest
import torch

from engine.errors import ModelFileError, OutOfMemoryError
from engine.families.families import family, read_config
from engine.library.entries import ModelEntry, VaeEntry
from engine.memory.pool import ModelPool
from engine.pipeline.decode import decode
from engine.pipeline.encode import begin
from engine.pipeline.model import EmbeddingCache, open_model
from engine.protocol.library import FileView, ModelView
from tests.engine.pipeline.conftest import picture, run_out
from tests.support.tiny_models import write_tiny_sd1


def entry_of(folder, family_id):
    view = ModelView(id="tiny", title="Tiny", family=family_id, format="diffusers")
    config = {part: read_config(folder, part) for part in ("unet", "vae", "scheduler", "model_index", "text_encoder")}
    return ModelEntry(view=view, path=folder, family=family(family_id), config=config, config_dir=folder)


@pytest.mark.parametrize("family_id", ["sd1", "sdxl"])
def test_a_bundle_makes_the_picture_of_the_folder(request, spec, family_id):
    reference = request.getfixturevalue(family_id)
    pool = ModelPool(10**9)
    folder = request.getfixturevalue(f"{family_id}_pipe").folder
    with open_model(pool, entry_of(folder, family_id), device="cpu", dtype="float32") as bundle:
        assert bundle.memory_format == torch.contiguous_format, "a small one on a CPU"
        assert bundle.is_xl == (family_id == "sdxl")
        assert bundle.latent_scale == 4
        ours = picture(bundle, spec())
        assert all(entry.leases == 1 for entry in pool.entries())
    expected = picture(reference, spec())
    assert float((ours - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert all(entry.leases == 0 for entry in pool.entries())
    assert pool.used_bytes > 0


def test_opening_again_loads_nothing(sd1_pipe):
    pool = ModelPool(10**9)
    entry = entry_of(sd1_pipe.folder, "sd1")
    open_model(pool, entry).close()
    loads = pool.loads
    with open_model(pool, entry) as bundle:
        assert bundle.unet is not None
    assert pool.loads == loads


def test_another_vae_changes_only_the_decoding(sd1_pipe, spec, tmp_path):
    other = write_tiny_sd1(tmp_path / "other", seed=7)
    vae = VaeEntry(FileView(id="other", title="Other", kind="vae"), other / "vae")
    pool = ModelPool(10**9)
    entry = entry_of(sd1_pipe.folder, "sd1")
    images = []
    for chosen in (None, vae):
        with open_model(pool, entry, chosen) as bundle:
            context = begin(bundle, spec(), 0, context_id="x")
            run_out(bundle, [context])
            images.append((bundle.model_key, context.latents, decode(bundle, [context])[0].image.tobytes()))
    assert images[0][0] == images[1][0]
    assert torch.equal(images[0][1], images[1][1])
    assert images[0][2] != images[1][2]
    assert sum(1 for slot in pool.entries() if getattr(slot.key, "part", "") == "unet") == 1


def test_a_fault_while_loading_leaves_nothing_leased(sd1_pipe, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(sd1_pipe.folder, broken)
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    pool = ModelPool(10**9)
    with pytest.raises(ModelFileError):
        open_model(pool, entry_of(broken, "sd1"))
    assert all(entry.leases == 0 for entry in pool.entries())
    small = ModelPool(1000)
    with pytest.raises(OutOfMemoryError) as refused:
        open_model(small, entry_of(sd1_pipe.folder, "sd1"))
    assert refused.value.code == "model_larger_than_budget"
    assert all(entry.leases == 0 for entry in small.entries())


def test_prompts_are_encoded_once(sd1, sdxl, spec):
    cache = EmbeddingCache()
    first = begin(sd1, spec(), 0, context_id="a", cache=cache)
    second = begin(sd1, spec(), 1, context_id="b", cache=cache)
    assert (cache.hits, cache.misses, len(cache)) == (2, 2, 2)
    assert torch.equal(first.text.embeds, second.text.embeds)
    begin(sd1, spec(clip_skip=2), 0, context_id="c", cache=cache)
    assert len(cache) == 4
    other = begin(sdxl, spec(), 0, context_id="d", cache=cache)
    assert len(cache) == 6
    assert other.text.embeds.shape != first.text.embeds.shape
    assert torch.equal(
        begin(sdxl, spec(), 0, context_id="e", cache=cache).added["text_embeds"], other.added["text_embeds"]
    )
