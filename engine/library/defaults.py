"""Defaults of a model, layer on layer: its name's (distilled), its side file's, the catalogue's, the user's own."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

from pydantic import ValidationError

from engine.errors import StorageError
from engine.protocol.library import ModelDefaults


def layered(*layers: ModelDefaults) -> ModelDefaults:
    """The last layer that sets a field decides it."""
    values: dict[str, object] = {}
    for layer in layers:
        values.update({name: value for name, value in layer if value is not None})
    return ModelDefaults.model_validate(values)


def distilled(name: str) -> ModelDefaults:
    """What a distilled model needs, by its name: few steps and little guidance; empty for other names.

    Lightning, Hyper-SD, LCM and Turbo models have the shapes of their bases, so the name is all that tells.
    """
    text = name.lower()
    steps = re.search(r"(\d+)[ _-]?steps?", text)
    if re.search(r"(?<![a-z])(lightning|hyper)(?![a-z])", text):
        count = int(steps[1]) if steps and 1 <= int(steps[1]) <= 12 else 8
        return ModelDefaults(steps=count, guidance=1.0, sampler="euler", schedule="sgm_uniform")
    if re.search(r"(?<![a-z])lcm(?![a-z])", text):
        return ModelDefaults(steps=6, guidance=1.5, sampler="lcm", schedule="automatic")
    if re.search(r"(?<![a-z])sd(xl)?[ _-]turbo(?![a-z])", text):
        return ModelDefaults(width=512, height=512, steps=4, guidance=1.0, sampler="euler_a", schedule="automatic")
    if re.search(r"turbo(?![a-z])", text):
        return ModelDefaults(steps=6, guidance=2.0, sampler="dpmpp_sde", schedule="karras")
    return ModelDefaults()


def hurried(speed: str, name: str) -> ModelDefaults:
    """What a model needs while an adapter of this speed ("lcm", "lightning", …) is on; `name` may tell the steps.

    From the authors' own advice: LCM-LoRA 4–8 steps at guidance 1–2; TCD and DMD2 without guidance; Lightning, Hyper-SD
    and Turbo the number of steps in their names, spaced to the end of the schedule, without guidance.
    """
    told = re.search(r"(\d+)[ _-]?steps?", name.lower())
    steps = int(told[1]) if told and 1 <= int(told[1]) <= 16 else None
    rows = {
        "lcm": ModelDefaults(steps=steps or 6, guidance=1.5, sampler="lcm", schedule="automatic"),
        "tcd": ModelDefaults(steps=steps or 6, guidance=1.0, sampler="tcd", schedule="automatic"),
        "dmd2": ModelDefaults(steps=steps or 4, guidance=1.0, sampler="lcm", schedule="automatic"),
        "lightning": ModelDefaults(steps=steps or 8, guidance=1.0, sampler="euler", schedule="sgm_uniform"),
        "hyper": ModelDefaults(steps=steps or 8, guidance=1.0, sampler="euler", schedule="sgm_uniform"),
        "turbo": ModelDefaults(steps=steps or 4, guidance=1.0, sampler="euler_a", schedule="automatic"),
    }
    return rows.get(speed, ModelDefaults())


class SavedDefaults:
    """The values that the user kept for models, by model id: one JSON file of Easel's own."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def load(self) -> dict[str, ModelDefaults]:
        """All of them; a damaged file counts as empty, and a damaged entry as absent."""
        try:
            raw = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        result: dict[str, ModelDefaults] = {}
        for model_id, value in raw.items() if isinstance(raw, dict) else ():
            try:
                result[model_id] = ModelDefaults.model_validate(value)
            except ValidationError:
                continue
        return result

    def save(self, model_id: str, defaults: ModelDefaults) -> None:
        """Keep (or, where `defaults` is empty, forget) a model's values.

        Raises:
            StorageError: the disk refuses.
        """
        values = self.load()
        values.pop(model_id, None)
        if defaults != ModelDefaults():
            values[model_id] = defaults
        text = json.dumps({key: value.model_dump(exclude_none=True) for key, value in values.items()}, indent=1)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._file.parent, suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._file)
        except OSError as error:
            raise StorageError(
                "disk_error", f"The model's values could not be kept: {error.strerror}.", "Check the data folder."
            ) from error
