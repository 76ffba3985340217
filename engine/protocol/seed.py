"""The request and catalogue types of the seed document, under their own names: what `/generate` takes.

The fields are the seed's. Ranges are those of `GenerationSpec` and are checked by admission, so that a violation has
the same sentence and code here as everywhere (decisions 17, 18, 20, 23, 46).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from engine.errors import SpecError
from engine.protocol.specs import AdapterRef, ControlUnit, GenerationSpec


class _Seed(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class LoRAConfig(_Seed):
    """An adapter of the catalogue. `path` is a hub id or a local path."""

    name: str
    path: str
    default_weight: float = 0.8
    trigger_words: list[str] | None = None


class ModelConfig(_Seed):
    """A base model of the catalogue."""

    name: str
    path: str
    vae_path: str | None = None
    supported_loras: list[str] = []
    default_negative: str = ""


class LoRARequest(_Seed):
    """An adapter for one request, by its id in the catalogue. Weights −10…10."""

    name: str
    weight: float = 0.8


class GenerationRequest(_Seed):
    """What `POST /generate` takes.

    Attributes:
        prompt: what to draw.
        negative_prompt: None takes the model's default negative.
        ip_strength: strength of the reference picture, 0.0–1.0; 0 uses none.
        model: id of the base model; None is `[engine] default_model`.
        loras: adapters to apply.
        steps: 1–150. guidance_scale: 1.0–30.0. seed: 0…2³²−1, None draws one.
        width, height: pixels; None takes the model's own size.
        on_missing: "refuse" or "skip" adapters that are not in the library.
        reference_image: an asset reference for `ip_strength`; None takes `[engine] reference_image`.
    """

    prompt: str
    negative_prompt: str | None = None
    ip_strength: float = 0.0
    model: str | None = None
    loras: list[LoRARequest] = []
    steps: int = 30
    guidance_scale: float = 7.5
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    on_missing: Literal["refuse", "skip"] = "refuse"
    reference_image: str | None = None

    def to_spec(self) -> GenerationSpec:
        """The same request as a `GenerationSpec` for one picture.

        Raises:
            SpecError: `fraction_out_of_range` for the strength of the reference picture.
        """
        if not 0.0 <= self.ip_strength <= 1.0:
            raise SpecError(
                "fraction_out_of_range",
                f"ip_strength must be from 0.0 to 1.0, not {self.ip_strength:g}.",
                "0.3 to 0.7 is usual; 0 uses no reference picture.",
            )
        # Without a picture it is the server's own; without an IP-Adapter, admission takes a reference and says so.
        reference = ControlUnit(kind="ip_adapter", image=self.reference_image or "", weight=self.ip_strength)
        return GenerationSpec(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            model=self.model,
            steps=self.steps,
            guidance=self.guidance_scale,
            seed=self.seed,
            width=self.width,
            height=self.height,
            on_missing=self.on_missing,
            # The sizes of this request are the picture's own.
            upscale=1,
            controls=(reference,) if self.ip_strength else (),
            adapters=tuple(AdapterRef(name=item.name, unet_weight=item.weight) for item in self.loras),
        )
