"""Recipes out of the files of other tools, one small real-shaped file each."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.errors import SpecError
from engine.images.draft import Lookups
from engine.images.exif import build_exif
from engine.images.recipe import core_readers, read_recipe
from engine.protocol.specs import GenerationSpec
from engine.sampling.table import canonical, from_a1111

LOOKUPS = Lookups(canonical=canonical, canonical_a1111=from_a1111)
INFOTEXT = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: m"


def png(**texts: str) -> bytes:
    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def restored(data: bytes, source: str, lookups: Lookups = LOOKUPS) -> tuple[GenerationSpec, str]:
    recipe = read_recipe(data, lookups=lookups)
    assert recipe.source == source
    assert recipe.spec is not None
    return recipe.spec, " | ".join(notice.message for notice in recipe.notices)


def test_every_reader_is_tested() -> None:
    assert {reader.dialect for reader in core_readers()} == {
        "easel",
        "a1111",
        "comfyui",
        "invokeai",
        "swarmui",
        "fooocus",
        "novelai",
    }


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_a1111_in_every_format(image_format: str) -> None:
    buffer = io.BytesIO()
    image = Image.new("RGB", (64, 48))
    if image_format == "PNG":
        data = png(parameters=INFOTEXT)
    else:
        image.save(buffer, image_format, exif=build_exif(INFOTEXT))
        data = buffer.getvalue()
    spec, _ = restored(data, "a1111")
    assert (spec.prompt, spec.negative_prompt, spec.sampler, spec.seed) == ("a cat", "dog", "euler_a", 1)


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + INFOTEXT.encode("utf-16-le"),
        b"UNICODE\0" + INFOTEXT.encode("utf-16"),
        b"ASCII\0\0\0" + INFOTEXT.encode(),
        INFOTEXT.encode(),
    ],
)
def test_user_comments_of_other_writers(comment: bytes) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG", exif=exif)
    spec, _ = restored(buffer.getvalue(), "a1111")
    assert spec.prompt == "a cat"


def test_texts_behind_the_pixels_are_found() -> None:
    with_text, plain = png(parameters=INFOTEXT), png()
    start = with_text.index(b"tEXt") - 4
    chunk = with_text[start : with_text.index(b"IDAT") - 4]
    end = plain.index(b"IEND") - 4
    spec, _ = restored(plain[:end] + chunk + plain[end:], "a1111")
    assert spec.prompt == "a cat"


def test_easels_record_comes_before_infotext_and_damage_falls_back_to_it() -> None:
    spec = GenerationSpec(prompt="from easel", seed=3, model="gone")
    both = png(parameters=INFOTEXT, easel=spec.model_dump_json(by_alias=True))
    assert restored(both, "easel")[0] == spec
    told = restored(both, "easel", Lookups(find_model=lambda name, digest: None))[1]
    assert "gone" in told
    assert restored(png(parameters=INFOTEXT, easel="{broken"), "a1111")[0].prompt == "a cat"
    with pytest.raises(SpecError) as caught:
        read_recipe(png(easel="{broken"))
    assert caught.value.code == "image_unreadable"


def test_a_picture_without_settings_has_no_recipe() -> None:
    recipe = read_recipe(png(Comment="made with GIMP", prompt="just words", parameters="holiday 2019"))
    assert recipe.spec is None
    assert recipe.source == ""


COMFY: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 156680208700286,
            "steps": 20,
            "cfg": 8,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1,
            "model": ["10", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "SD1.5\\dreamshaper_8.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["12", 0], "clip": ["11", 0]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "text, watermark", "clip": ["11", 0]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["20", 0], "vae": ["4", 2]}},
    "10": {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "ink.safetensors",
            "strength_model": 0.8,
            "strength_clip": 1.0,
            "model": ["4", 0],
            "clip": ["4", 1],
        },
    },
    "11": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -2, "clip": ["10", 1]}},
    "12": {"class_type": "PrimitiveString", "inputs": {"value": "beautiful scenery"}},
    "20": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 1,
            "steps": 10,
            "cfg": 8,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 0.5,
            "model": ["10", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["21", 0],
        },
    },
    "21": {"class_type": "LatentUpscale", "inputs": {"width": 1024, "height": 1536, "samples": ["3", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}, "is_changed": [float("nan")]},
}


def test_comfyui_graph_is_walked() -> None:
    spec, told = restored(png(prompt=json.dumps(COMFY), workflow="{}"), "comfyui")
    assert spec.prompt == "beautiful scenery"
    assert [(row.name, row.unet_weight, row.text_weight) for row in spec.adapters] == [("ink", 0.8, 1.0)]
    assert spec.negative_prompt == "text, watermark"
    assert (spec.steps, spec.guidance, spec.sampler, spec.schedule) == (20, 8.0, "dpmpp_2m", "karras")
    assert (spec.width, spec.height, spec.model, spec.clip_skip) == (512, 768, "dreamshaper_8", 2)
    assert spec.seed == 156680208700286 % 2**32
    assert "1 further sampler" in told
    assert "same noise" in told


def test_comfyui_webp_keeps_the_graph_in_exif() -> None:
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(COMFY)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "WEBP", exif=exif)
    assert restored(buffer.getvalue(), "comfyui")[0].steps == 20


def test_comfyui_custom_sampler_has_its_parts_in_other_nodes() -> None:
    graph = {
        "1": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["2", 0],
                "guider": ["3", 0],
                "sampler": ["4", 0],
                "sigmas": ["5", 0],
                "latent_image": ["6", 0],
            },
        },
        "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 77}},
        "3": {
            "class_type": "CFGGuider",
            "inputs": {"cfg": 4.5, "positive": ["7", 0], "negative": ["8", 0], "model": ["9", 0]},
        },
        "4": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler_ancestral"}},
        "5": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 12, "model": ["9", 0]}},
        "6": {"class_type": "EmptyLatentImage", "inputs": {"width": 640, "height": 640}},
        "7": {"class_type": "CLIPTextEncodeSDXL", "inputs": {"text_g": "a fox", "text_l": "a fox"}},
        "8": {"class_type": "CLIPTextEncode", "inputs": {"text": "bad"}},
        "9": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
    }
    spec, _ = restored(png(prompt=json.dumps(graph)), "comfyui")
    assert (spec.prompt, spec.negative_prompt, spec.seed, spec.guidance) == ("a fox", "bad", 77, 4.5)
    assert (spec.steps, spec.sampler, spec.schedule, spec.width, spec.model) == (12, "euler_a", "simple", 640, "x")


def test_comfyui_graphs_with_cycles_and_nonsense_end() -> None:
    graph: dict[str, Any] = {
        "1": {
            "class_type": "KSampler",
            "inputs": {"steps": ["1", 0], "cfg": ["2", 0], "positive": ["2", 0], "model": ["1", 0]},
        },
        "2": {"class_type": "X", "inputs": {"text": ["3", 0], "a": ["2", 0], "b": [[], {}], "c": [{}, 1]}},
        "3": {"class_type": "Y", "inputs": {"text": ["2", 0], "lora_name": {"a": 1}}},
        "4": "nonsense",
        "5": {"class_type": 7, "inputs": []},
    }
    spec, _ = restored(png(prompt=json.dumps(graph)), "comfyui")
    assert (spec.prompt, spec.steps, spec.width) == ("", None, 64)


def test_invokeai() -> None:
    record = {
        "generation_mode": "sdxl_txt2img",
        "positive_prompt": "a (cat)1.2",
        "negative_prompt": "dog",
        "width": 512,
        "height": 640,
        "seed": 99,
        "cfg_scale": 5.5,
        "steps": 25,
        "scheduler": "dpmpp_2m_k",
        "clip_skip": 1,
        "rand_device": "cpu",
        "model": {"key": "…", "hash": "blake3:00", "name": "juggernaut", "base": "sdxl", "type": "main"},
        "loras": [{"model": {"name": "ink"}, "weight": 0.75}],
        "vae": {"name": "fix"},
        "controlnets": [{"control_weight": 1}],
    }
    spec, told = restored(png(invokeai_metadata=json.dumps(record)), "invokeai")
    assert (spec.prompt, spec.prompt_syntax, spec.negative_prompt) == ("a (cat)1.2", "compel", "dog")
    assert [(row.name, row.unet_weight) for row in spec.adapters] == [("ink", 0.75)]
    assert (spec.sampler, spec.schedule, spec.guidance, spec.steps) == ("dpmpp_2m", "karras", 5.5, 25)
    assert (spec.model, spec.vae, spec.clip_skip, spec.seed) == ("juggernaut", "fix", 2, 99)
    assert "ControlNet" in told


def test_swarmui_in_png_and_jpeg() -> None:
    record = {
        "sui_image_params": {
            "prompt": "a fox",
            "negativeprompt": "bad",
            "model": "SDXL/pony.safetensors",
            "seed": 12,
            "steps": 30,
            "cfgscale": 6.5,
            "width": 832,
            "height": 1216,
            "sampler": "dpmpp_2m_sde_gpu",
            "scheduler": "karras",
            "loras": ["ink"],
            "loraweights": ["0.5"],
            "automaticvae": True,
            "refinercontrolpercentage": 0.2,
            "swarm_version": "0.9.3",
        },
        "sui_models": [{"name": "pony.safetensors", "param": "model", "hash": "0x00"}],
    }
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG", exif=build_exif(json.dumps(record)))
    for data in (png(parameters=json.dumps(record)), buffer.getvalue()):
        spec, told = restored(data, "swarmui")
        assert (spec.prompt, spec.negative_prompt, spec.model) == ("a fox", "bad", "pony")
        assert [(row.name, row.unet_weight) for row in spec.adapters] == [("ink", 0.5)]
        assert (spec.sampler, spec.schedule, spec.guidance) == ("dpmpp_2m_sde", "karras", 6.5)
        assert (spec.width, spec.height, spec.seed, spec.steps) == (832, 1216, 12, 30)
        assert "refinercontrolpercentage" in told


def test_fooocus_and_that_nothing_is_evaluated() -> None:
    record = {
        "prompt": "a ring",
        "negative_prompt": "",
        "styles": "__import__('os').abort()",
        "performance": "Speed",
        "full_prompt": ["a ring", "cinematic"],
        "full_negative_prompt": ["ugly"],
        "resolution": "(1152, 896)",
        "guidance_scale": 4.0,
        "sharpness": 2.0,
        "adm_guidance": "(1.5, 0.8, 0.3)",
        "base_model": "juggernautXL_v8.safetensors",
        "base_model_hash": "aeb7e9e689",
        "refiner_model": "None",
        "sampler": "dpmpp_2m_sde_gpu",
        "scheduler": "karras",
        "seed": "42",
        "loras": [["offset.safetensors", 0.1, "4852686128"]],
        "version": "Fooocus v2.5.0",
    }
    spec, told = restored(png(parameters=json.dumps(record), fooocus_scheme="fooocus"), "fooocus")
    assert spec.prompt == "a ring, cinematic"
    assert [(row.name, row.unet_weight) for row in spec.adapters] == [("offset", 0.1)]
    assert (spec.negative_prompt, spec.width, spec.height, spec.steps) == ("ugly", 1152, 896, 30)
    assert (spec.seed, spec.model, spec.sampler, spec.schedule) == (42, "juggernautXL_v8", "dpmpp_2m_sde", "karras")
    assert "sharpness" in told


def test_fooocus_second_scheme_is_infotext() -> None:
    text = "a ring\nNegative prompt: x\nSteps: 30, Sampler: DPM++ 2M SDE, Scheduler: karras, Seed: 4, CFG scale: 4"
    spec, _ = restored(png(parameters=text, fooocus_scheme="a1111"), "a1111")
    assert (spec.sampler, spec.schedule) == ("dpmpp_2m_sde", "karras")


def test_novelai() -> None:
    comment = {
        "steps": 28,
        "height": 768,
        "width": 512,
        "scale": 11.0,
        "uc": "lowres",
        "seed": 4,
        "sampler": "k_euler_ancestral",
        "noise_schedule": "native",
    }
    data = png(Software="NovelAI", Description="{masterpiece}, cat", Comment=json.dumps(comment))
    spec, told = restored(data, "novelai")
    assert (spec.prompt, spec.negative_prompt, spec.sampler) == ("{masterpiece}, cat", "lowres", "euler_a")
    assert (spec.steps, spec.guidance, spec.width, spec.height, spec.clip_skip) == (28, 11.0, 512, 768, 2)
    assert "braces" in told
