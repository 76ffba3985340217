"""ComfyUI's names of samplers and schedulers, which SwarmUI and Fooocus share, as A1111 titles."""

from __future__ import annotations

_SAMPLERS = {
    "euler": "Euler",
    "euler_cfg_pp": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "heunpp2": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_ancestral": "DPM2 a",
    "lms": "LMS",
    "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "ddim": "DDIM",
    "uni_pc": "UniPC",
    "uni_pc_bh2": "UniPC",
    "lcm": "LCM",
    "tcd": "TCD",
    "plms": "PLMS",
}
_SCHEDULES = {
    "normal": "Automatic",
    "karras": "Karras",
    "exponential": "Exponential",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
    "ddim_uniform": "Automatic",
    "beta": "Beta",
    "lcm": "Automatic",
    "tcd": "Automatic",
}


def titles(sampler: str, schedule: str) -> tuple[str, str]:
    """A1111 titles of a pair; names that are not known stay as they are."""
    plain = sampler.removesuffix("_gpu")
    return _SAMPLERS.get(plain, plain), _SCHEDULES.get(schedule, schedule)


def model_name(file: str) -> str:
    """A model's name out of a path with either kind of slash, without its suffix."""
    name = file.replace("\\", "/").rsplit("/", 1)[-1]
    for suffix in (".safetensors", ".ckpt", ".pt", ".bin", ".gguf"):
        name = name.removesuffix(suffix)
    return name
