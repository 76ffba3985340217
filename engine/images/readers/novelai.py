"""NovelAI: `Software` NovelAI, `Description` the prompt, `Comment` JSON."""

from __future__ import annotations

from engine.images.carrier import Carrier
from engine.images.draft import Draft, Lookups, as_text
from engine.images.restoration import restore
from engine.images.safe_json import load_object
from engine.protocol.commands import Recipe

_SAMPLERS = {
    "k_euler": "Euler",
    "k_euler_ancestral": "Euler a",
    "k_dpmpp_2m": "DPM++ 2M",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE",
    "k_dpmpp_2s_ancestral": "DPM++ 2S a",
    "k_dpmpp_sde": "DPM++ SDE",
    "k_dpm_2": "DPM2",
    "k_dpm_2_ancestral": "DPM2 a",
    "k_heun": "Heun",
    "k_lms": "LMS",
    "ddim": "DDIM",
    "ddim_v3": "DDIM",
    "plms": "PLMS",
}
_SCHEDULES = {"native": "", "karras": "Karras", "exponential": "Exponential", "polyexponential": "Polyexponential"}


class NovelReader:
    """Its models are not public, so the model is always lost."""

    dialect = "novelai"

    def read(self, carrier: Carrier, lookups: Lookups) -> Recipe | None:
        """The recipe; None unless `Software` says NovelAI."""
        texts = carrier.texts
        if "Comment" not in texts or not texts.get("Software", "").startswith("NovelAI"):
            return None
        comment = load_object(texts["Comment"], "NovelAI's comment")
        prompt = texts.get("Description") or as_text(comment.get("prompt"))
        sampler, schedule = as_text(comment.get("sampler")), as_text(comment.get("noise_schedule"))
        draft = Draft(
            prompt=prompt,
            negative=as_text(comment.get("uc")),
            steps=comment.get("steps"),
            guidance=comment.get("scale"),
            seed=comment.get("seed"),
            width=comment.get("width") or carrier.width,
            height=comment.get("height") or carrier.height,
            sampler=_SAMPLERS.get(sampler, sampler),
            schedule=_SCHEDULES.get(schedule, schedule),
            clip_skip=2,
            rng="cpu",
        )
        draft.lost.append("NovelAI's model, which is not public")
        if any(mark in prompt for mark in "{}"):
            draft.lost.append("the strength of words in {braces}, which mean something else here")
        return restore(draft, self.dialect, texts["Comment"], lookups)
