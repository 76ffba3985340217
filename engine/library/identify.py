"""Tell from a file's header what it is. Pure: names, shapes and metadata in, an `Identity` out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.library.adapters import adapter_identity, is_adapter
from engine.library.control_files import control_problem
from engine.library.headers import TensorInfo, read_header
from engine.library.identity import Identity, common_dtype
from engine.library.ip_adapters import ip_adapter_facts, ip_adapter_problem, is_ip_adapter
from engine.library.pickles import read_pickle_names
from engine.library.t2i_adapters import is_t2i_adapter, t2i_facts

Tensors = Mapping[str, TensorInfo]
Metadata = Mapping[str, str]
UNET = "model.diffusion_model."
# Part of a name → what kind of model has it. The first that occurs decides; all of them need another pipeline.
_OTHERS: tuple[tuple[str, str], ...] = (
    ("single_stream_modulation", "FLUX.2"),
    ("distilled_guidance_layer", "Chroma"),
    ("double_blocks.0.img_attn", "Flux"),
    ("single_transformer_blocks.0", "Flux"),
    ("joint_blocks.0", "Stable Diffusion 3"),
    ("add_k_proj", "Stable Diffusion 3"),
    ("time_stack", "Stable Video Diffusion"),
    ("motion_modules", "AnimateDiff"),
    ("clip_txt_mapper", "Stable Cascade"),
    ("cap_embedder", "Lumina"),
    ("individual_token_refiner", "HunyuanVideo"),
    ("patchify_proj", "LTX-Video"),
    ("cross_attn.q_linear", "PixArt or Sana"),
    ("double_layers.0.attn", "AuraFlow"),
    ("head.modulation", "Wan"),
)


def identify_file(path: Path) -> Identity:
    """What the file is, from its header alone.

    Raises:
        ModelFileError: it is truncated, unsafe, or no model file at all.
    """
    if path.suffix.lower() == ".safetensors":
        header = read_header(path)
        return identify(header.tensors, header.metadata, path.name)
    names = read_pickle_names(path)
    # A pickle's shapes are not looked for: what they would tell comes out when the file is loaded.
    return identify(dict.fromkeys(names, TensorInfo("", ())), {}, path.name)


def identify(tensors: Tensors, metadata: Metadata, file_name: str) -> Identity:
    """What a file with these tensors is; `file_name` only decides where nothing better does."""
    for matches, describe in _KINDS:
        if matches(tensors):
            return describe(tensors, metadata, file_name)
    return _problem("unknown", f"{file_name} holds weights of a kind that Easel does not know.", tensors)


# --- checkpoints ---------------------------------------------------------------------------------------------------


def _is_checkpoint(tensors: Tensors) -> bool:
    return any(name.startswith((UNET, "cond_stage_model.", "conditioner.embedders.")) for name in tensors)


def _checkpoint(tensors: Tensors, metadata: Metadata, file_name: str) -> Identity:
    first = tensors.get(f"{UNET}input_blocks.0.0.weight")
    if first is None:
        return _foreign(tensors, file_name)
    refiner = any(name.startswith("conditioner.embedders.0.model.") for name in tensors)
    channels = first.shape[1] if len(first.shape) == 4 else 4
    family = _checkpoint_family(tensors)
    if refiner:
        return _problem("checkpoint", f"{file_name} is an SDXL refiner; Easel needs the base model.", tensors)
    if channels != 4:
        what = {9: "an inpainting model", 8: "an image-editing model (InstructPix2Pix)", 7: "an upscaling model"}
        kind = what.get(channels, f"a model with {channels} input channels")
        return _problem("checkpoint", f"{file_name} is {kind}, which Easel cannot use yet.", tensors)
    if any("time_stack" in name for name in tensors):
        return _foreign(tensors, file_name)
    parts = _parts(tensors)
    width = _text_width(tensors)
    prediction = _prediction(tensors, metadata, family, file_name)
    identity = Identity(
        kind="checkpoint",
        family=family,
        dtype=common_dtype(value for name, value in tensors.items() if name.startswith(UNET)),
        prediction_type=prediction,
        zero_snr="ztsnr" in tensors,
        parts=parts,
        text_width=width,
        title=metadata.get("modelspec.title", ""),
        description=metadata.get("modelspec.description", ""),
    )
    return _complete(identity, tensors, file_name)


def _complete(identity: Identity, tensors: Tensors, file_name: str) -> Identity:
    """The identity with a problem where the checkpoint cannot draw."""
    problem, code = "", "model_file_unsupported"
    encoders = {"text_encoder", "text_encoder_2"} if identity.family == "sdxl" else {"text_encoder"}
    if not identity.family:
        problem = f"{file_name} is not of a family that Easel knows (SD 1.x, SD 2.x, SDXL)."
    elif "edm_mean" in tensors:
        problem = f"{file_name} is a Playground model, whose noise schedule Easel does not have yet."
    elif identity.text_width == 2048 and f"{UNET}input_blocks.7.1.transformer_blocks.9.norm1.weight" not in tensors:
        problem = f"{file_name} is a shortened SDXL (such as SSD-1B or Vega), which Easel cannot use yet."
    elif not encoders <= set(identity.parts):
        problem = f"{file_name} holds a UNet without its text encoder, so it cannot read prompts."
        code = "model_parts_missing"
    return identity.model_copy(update={"problem": problem, "code": code}) if problem else identity


def _checkpoint_family(tensors: Tensors) -> str:
    names = tensors.keys()
    if any(name.startswith("conditioner.embedders.1.") for name in names) or f"{UNET}label_emb.0.0.weight" in tensors:
        return "sdxl"
    if any(name.startswith("cond_stage_model.model.") for name in names):
        return "sd2"
    if any(name.startswith("cond_stage_model.transformer.") for name in names):
        return "sd1"
    return {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(_text_width(tensors), "")


def _parts(tensors: Tensors) -> tuple[str, ...]:
    places = {
        "text_encoder": ("cond_stage_model.", "conditioner.embedders.0."),
        "text_encoder_2": ("conditioner.embedders.1.",),
        "unet": (UNET,),
        "vae": ("first_stage_model.", "vae."),
    }
    return tuple(part for part, prefixes in places.items() if any(name.startswith(prefixes) for name in tensors))


def _text_width(tensors: Tensors) -> int:
    for name, tensor in tensors.items():
        if name.endswith("attn2.to_k.weight") and len(tensor.shape) == 2:
            return tensor.shape[1]
    return 0


def _prediction(tensors: Tensors, metadata: Metadata, family: str, file_name: str) -> str:
    """ "v_prediction" or "epsilon": from marks in the file, for SD 2 also from its name.

    SD 2's two variants have equal shapes: the 768 px models predict v, the 512 px "base" ones noise.
    """
    said = metadata.get("modelspec.prediction_type", "").lower()
    if "v_pred" in tensors or said in {"v", "v_prediction"}:
        return "v_prediction"
    if said in {"epsilon", "eps"} or family != "sd2":
        return "epsilon"
    base = re.search(r"(?<![a-z])base(?![a-z])|(?<!\d)512(?!\d)", file_name.lower())
    return "epsilon" if base else "v_prediction"


def _foreign(tensors: Tensors, file_name: str) -> Identity:
    for mark, title in _OTHERS:
        if any(mark in name for name in tensors):
            return _problem(
                "checkpoint", f"{file_name} is a {title} model; Easel draws with SD 1.x, 2.x and SDXL.", tensors
            )
    return _problem("checkpoint", f"{file_name} is not of a family that Easel knows (SD 1.x, SD 2.x, SDXL).", tensors)


# --- other kinds ---------------------------------------------------------------------------------------------------


def _is_foreign(tensors: Tensors) -> bool:
    return any(mark in name for name in tensors for mark, _ in _OTHERS)


def _is_controlnet(tensors: Tensors) -> bool:
    marks = (
        "control_model.", "controlnet_cond_embedding.", "controlnet_down_blocks.", "input_hint_block.",
        "control_add_embedding.", "controlnet_blocks.", "controlnet_x_embedder.",
    )  # fmt: skip
    return "lora_controlnet" in tensors or any(name.startswith(marks) for name in tensors)


def _controlnet(tensors: Tensors, metadata: Metadata, file_name: str) -> Identity:
    width = _text_width(tensors)
    xl = any("add_embedding." in name or "label_emb." in name for name in tensors)
    family = "sdxl" if xl or width == 2048 else {768: "sd1", 1024: "sd2"}.get(width, "")
    problem = control_problem(tensors, file_name)
    return Identity(
        kind="controlnet",
        family=family,
        dtype=common_dtype(tensors.values()),
        text_width=width,
        problem=problem,
        code="model_file_unsupported" if problem else "",
    )


def _ip_adapter(tensors: Tensors, metadata: Metadata, file_name: str) -> Identity:
    facts, problem = ip_adapter_facts(tensors), ip_adapter_problem(tensors, file_name)
    return Identity(
        kind="controlnet",
        family=facts.family,
        dtype=common_dtype(tensors.values()),
        text_width=facts.text_width,
        problem=problem,
        code="model_file_unsupported" if problem else "",
    )


def _t2i_adapter(tensors: Tensors, metadata: Metadata, file_name: str) -> Identity:
    facts = t2i_facts({name: info.shape for name, info in tensors.items()})
    told = any(info.shape for info in tensors.values())
    problem = f"{file_name} is a T2I-Adapter of a kind that Easel does not know." if told and not facts.channels else ""
    return Identity(
        kind="controlnet",
        family=facts.family,
        dtype=common_dtype(tensors.values()),
        problem=problem,
        code="model_file_unsupported" if problem else "",
    )


def _is_vae(tensors: Tensors) -> bool:
    return any(
        f"{prefix}encoder.conv_in.weight" in tensors and f"{prefix}decoder.conv_in.weight" in tensors
        for prefix in ("", "first_stage_model.", "vae.")
    )


def _vae(tensors: Tensors, metadata: Metadata, file_name: str) -> Identity:
    identity = Identity(kind="vae", dtype=common_dtype(tensors.values()), parts=("vae",))
    for prefix in ("", "first_stage_model.", "vae."):
        entry = tensors.get(f"{prefix}decoder.conv_in.weight")
        if entry is not None and len(entry.shape) == 4 and entry.shape[1] != 4:
            problem = (
                f"{file_name} is a VAE with {entry.shape[1]} latent channels (Flux, SD 3); Easel's families have 4."
            )
            return identity.model_copy(update={"problem": problem, "code": "model_file_unsupported"})
    return identity


def _is_embedding(tensors: Tensors) -> bool:
    marks = {"emb_params", "string_to_param", "clip_l", "clip_g"}
    if marks & tensors.keys() or any(_is_token(name) for name in tensors):
        return True
    # diffusers' way with a word without angle brackets: one tensor, which is nothing but vectors.
    (name, tensor), *others = tensors.items() if tensors else [("", TensorInfo("", ()))]
    vectors = len(tensor.shape) in (1, 2) and tensor.shape[-1] in (768, 1024)
    return vectors and not others and "." not in name


def _embedding(tensors: Tensors, metadata: Metadata, file_name: str) -> Identity:
    if {"clip_l", "clip_g"} <= tensors.keys():
        return Identity(kind="embedding", family="sdxl", dtype=common_dtype(tensors.values()))
    widths = {tensor.shape[-1] for tensor in tensors.values() if tensor.shape}
    family = next((name for width, name in ((768, "sd1"), (1024, "sd2")) if width in widths), "")
    # diffusers' way: the word itself is the tensor's name.
    tokens = tuple(sorted(name for name in tensors if _is_token(name)))
    return Identity(kind="embedding", family=family, dtype=common_dtype(tensors.values()), trigger_words=tokens)


def _is_token(name: str) -> bool:
    return 2 < len(name) <= 200 and name.startswith("<") and name.endswith(">")


def _is_upscaler(tensors: Tensors) -> bool:
    return bool({"conv_first.weight", "model.0.weight", "body.0.weight"} & tensors.keys())


def _named(mark: tuple[str, ...]) -> Callable[[Tensors], bool]:
    return lambda tensors: any(name.startswith(mark) for name in tensors)


def _says(sentence: str) -> Callable[[Tensors, Metadata, str], Identity]:
    return lambda tensors, metadata, file_name: _problem("unknown", f"{file_name} is {sentence}.", tensors)


def _problem(kind: str, sentence: str, tensors: Tensors) -> Identity:
    return Identity.model_validate(
        {
            "kind": kind,
            "dtype": common_dtype(tensors.values()),
            "problem": sentence,
            "code": "model_file_unsupported",
        }
    )


_KINDS: tuple[tuple[Callable[[Tensors], bool], Callable[[Tensors, Metadata, str], Identity]], ...] = (
    (is_ip_adapter, _ip_adapter),
    (_named(("image_proj.", "ip_adapter.")), _says("a part of an IP-Adapter; take the whole file")),
    (_named(("lllite_",)), _says("a ControlNet-LLLite, which Easel cannot use yet")),
    (lambda tensors: "lora_controlnet" in tensors, _controlnet),
    (is_adapter, adapter_identity),
    (_is_controlnet, _controlnet),
    (_is_checkpoint, _checkpoint),
    (_is_foreign, lambda tensors, metadata, file_name: _foreign(tensors, file_name)),
    (_is_vae, _vae),
    (_is_embedding, _embedding),
    (
        _is_upscaler,
        lambda tensors, metadata, file_name: Identity(kind="upscaler", dtype=common_dtype(tensors.values())),
    ),
    (is_t2i_adapter, _t2i_adapter),
    (_named(("down_blocks.", "conv_in.")), _says("a UNet alone; Easel needs the whole model folder")),
    (_named(("text_model.", "transformer.text_model.")), _says("a text encoder alone; Easel needs the whole model")),
)
