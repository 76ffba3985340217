"""What people give to ControlNet units by mistake, over REST: one sentence each, and everything else goes on."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from engine.control.preprocessors.base import Preprocessor
from engine.control.preprocessors.table import set_added_preprocessors
from tests.support.drawings import drawing
from tests.support.running_studio import SMALL, RunningStudio, running_studio
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_controls import write_tiny_t2i, write_tiny_union
from tests.support.tiny_models import write_tiny_controlnet, write_tiny_sdxl
from tests.webui.test_rest import is_error


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """A studio with a ControlNet, a T2I-Adapter, a union one with a model for it, and a LoRA in their folder."""
    folder = tmp_path_factory.mktemp("controls")
    models = make_settings(folder).models_dir
    write_tiny_controlnet(models / "controlnet" / "rest-canny", models / "checkpoints" / TINY, seed=1)
    write_tiny_t2i(models / "controlnet" / "rest-t2i-sketch", models / "checkpoints" / TINY, seed=2)
    wide = write_tiny_sdxl(models / "checkpoints" / "rest-xl")
    write_tiny_union(models / "controlnet" / "rest-union", wide, seed=3)
    place = "lora_unet_mid_block_attentions_0_proj_in"
    lora = {f"{place}.lora_up.weight": torch.zeros(64, 2), f"{place}.lora_down.weight": torch.zeros(2, 64)}
    save_file(lora, models / "controlnet" / "mistaken-lora.safetensors")
    control_lora = {"lora_controlnet": torch.zeros(0), "input_blocks.1.0.in_layers.2.down": torch.zeros(2, 4)}
    save_file(control_lora, models / "controlnet" / "control-lora-canny.safetensors")
    with running_studio(folder) as studio:
        yield studio


def sent(studio: RunningStudio, picture: Image.Image, kind: str = "PNG", **more: Any) -> httpx.Response:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **more)
    return studio.http.post("/api/v1/assets", files={"picture": (f"a.{kind.lower()}", buffer.getvalue())})


def kept(studio: RunningStudio, picture: Image.Image, kind: str = "PNG", **more: Any) -> str:
    answer = sent(studio, picture, kind, **more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["ref"])


def asked(studio: RunningStudio, *units: dict[str, Any], **spec: Any) -> httpx.Response:
    body = {**SMALL, "prompt": "a red cat", "steps": 2, "seed": 3, "controls": list(units), **spec}
    return studio.http.post("/api/v1/jobs", json=body)


def error_of(answer: httpx.Response) -> dict[str, str]:
    assert 400 <= answer.status_code < 500, answer.text
    assert is_error(answer)
    found: dict[str, str] = answer.json()["error"]
    assert found["message"].endswith((".", "?")), "a sentence"
    assert found["hint"]
    return found


def drawn(studio: RunningStudio, *units: dict[str, Any], **spec: Any) -> dict[str, Any]:
    answer = asked(studio, *units, **spec)
    assert answer.status_code == 202, answer.text
    view = studio.finished(answer.json()["id"])
    assert view["status"] == "done", view["error"]
    return view


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"image": ""}, "control_image_missing", "no picture"),
        ({"start": 0.8, "end": 0.2}, "control_window_empty", "starts at 0.8 and ends at 0.2"),
        ({"weight": -1}, "control_weight_out_of_range", "not -1"),
        ({"weight": 10}, "control_weight_out_of_range", "from 0 to 2"),
        ({"end": 70}, "fraction_out_of_range", "not 70"),
        ({"model": "mistaken-lora"}, "control_unknown", "mistaken-lora"),
        ({"model": "control-lora-canny"}, "control_unsupported", "Control-LoRA"),
        ({"preprocessor": "softedge_hed"}, "annotator_missing", "ControlNetHED.pth"),
        ({"preprocessor": "magic"}, "preprocessor_unknown", "magic"),
        ({"model": "rest-union"}, "control_mismatch", "made for another model"),
    ],
)
def test_each_mistake_has_one_sentence(desk: RunningStudio, changes: dict[str, Any], code: str, words: str) -> None:
    unit = {"model": "rest-canny", "image": kept(desk, drawing()), "preprocessor": "canny", **changes}
    found = error_of(asked(desk, unit))
    assert found["code"] == code
    assert words in found["message"]
    drawn(desk, {**unit, "muted": True})


def test_a_lora_in_place_of_a_controlnet_is_told_where_it_belongs(desk: RunningStudio) -> None:
    found = error_of(asked(desk, {"model": "mistaken-lora", "image": kept(desk, drawing())}))
    assert "stack of adapters" in found["hint"]


def test_missing_weights_are_named_with_where_from_and_where_to(desk: RunningStudio) -> None:
    image = kept(desk, drawing())
    for route, body in (("hints", {"image": image, "preprocessor": "depth_midas"}),):
        found = error_of(desk.http.post(f"/api/v1/{route}", json=body))
        assert found["code"] == "annotator_missing"
        for words in ("dpt_hybrid-midas-501f0c75.pt", "https://huggingface.co/", "models/annotators"):
            assert words in found["message"]


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"preprocessor": "shuffle", "parameters": {"size": 0}}, "control_value_out_of_range", "from 16 to 512, not 0"),
        ({"preprocessor": "canny", "parameters": {"lower": 1}}, "control_value_out_of_range", "no parameter “lower”"),
        ({"preprocessor": "canny", "resolution": 4096}, "control_value_out_of_range", "from 64 to 2048 px, not 4096"),
        ({"preprocessor": "canny", "resolution": 0}, "control_value_out_of_range", "from 64 to 2048 px, not 0"),
        ({"preprocessor": "canny", "width": -1, "height": 64}, "size_out_of_range", "width must be from 32 to 4096"),
        ({"preprocessor": "canny", "width": 64, "height": 100000}, "size_out_of_range", "not 100000"),
        ({"preprocessor": "canny", "width": 100, "height": 64}, "size_not_multiple", "100 is not"),
        ({"preprocessor": "canny", "height": 64}, "bad_request", "a height without a width"),
    ],
)
def test_a_hint_is_refused_for_the_numbers_that_a_job_is_refused_for(
    desk: RunningStudio, changes: dict[str, Any], code: str, sentence: str
) -> None:
    image = kept(desk, drawing())
    found = error_of(desk.http.post("/api/v1/hints", json={"image": image, **changes}))
    assert found["code"] == code
    assert sentence in found["message"]
    if "width" not in changes and "height" not in changes:
        assert error_of(asked(desk, {"model": "rest-canny", "image": image, **changes})) == found


def test_a_picture_of_one_pixel_or_none_at_all(desk: RunningStudio) -> None:
    tiny = kept(desk, Image.new("RGB", (1, 1)))
    unit = {"model": "rest-canny", "image": tiny, "preprocessor": "canny"}
    assert error_of(asked(desk, unit))["code"] == "control_image_unusable"
    hint = desk.http.post("/api/v1/hints", json={"image": tiny, "preprocessor": "canny"})
    assert error_of(hint)["code"] == "control_image_unusable"
    gone = {**unit, "image": "asset:" + "0" * 64}
    assert error_of(asked(desk, gone))["code"] == "asset_unknown"
    words = desk.http.post("/api/v1/assets", files={"picture": ("a.png", b"no picture at all")})
    assert error_of(words)["code"] == "image_unreadable"


def test_odd_pictures_are_understood(desk: RunningStudio) -> None:
    """A phone's 20 megapixels that lie on their side, an animation, a transparent drawing."""
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("P", (90, 60), colour) for colour in (1, 2)]
    clear = drawing().convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    answer = sent(desk, drawing(5472, 3648), "JPEG", exif=exif.tobytes())
    assert (answer.json()["width"], answer.json()["height"]) == (3648, 5472), "upright"
    for image in (
        answer.json()["ref"],
        kept(desk, frames[0], "GIF", save_all=True, append_images=frames[1:]),
        kept(desk, clear),
    ):
        hint = desk.http.post("/api/v1/hints", json={"image": image, "preprocessor": "canny", **SMALL})
        assert hint.status_code == 200, hint.text
        assert min(hint.json()["width"], hint.json()["height"]) == 64
        drawn(desk, {"model": "rest-canny", "image": image, "preprocessor": "canny"}, steps=1)


def test_a_preprocessor_that_raises_stops_nothing_else(desk: RunningStudio) -> None:
    def fall(pixels: Any, values: Any, detector: Any) -> Any:
        raise RuntimeError("it ran into\na wall")

    set_added_preprocessors((Preprocessor("falls", "Falls", (), fall),))
    try:
        image = kept(desk, drawing())
        good = {"model": "rest-canny", "image": image, "preprocessor": "canny"}
        bad = {**good, "preprocessor": "falls"}
        hint = desk.http.post("/api/v1/hints", json={"image": image, "preprocessor": "falls"})
        found = error_of(hint)
        assert found["code"] == "preprocessor_failed"
        assert "it ran into a wall" in found["message"]
        other = desk.http.post("/api/v1/hints", json={"image": image, "preprocessor": "canny"})
        assert other.status_code == 200
        waiting = asked(desk, good, steps=40)
        failing = desk.finished(asked(desk, bad).json()["id"])
        assert failing["status"] == "failed"
        assert failing["error"]["code"] == "preprocessor_failed"
        assert desk.finished(waiting.json()["id"])["status"] == "done"
        drawn(desk, good, {**bad, "muted": True})
    finally:
        set_added_preprocessors(())


def test_a_union_controlnet_is_told_what_its_hint_shows(desk: RunningStudio) -> None:
    image = kept(desk, drawing())
    unit = {"model": "rest-union", "image": image}
    found = error_of(asked(desk, unit, model="rest-xl"))
    assert found["code"] == "control_type_unknown"
    assert "Canny" in found["hint"]
    found = error_of(asked(desk, {**unit, "hint_type": "tile"}, model="rest-xl"))
    assert found["message"].endswith("does not read hints of the type Tile.")
    views = []
    for more in ({"hint_type": "Canny "}, {"preprocessor": "scribble_edges"}, {"hint_type": "depth"}):
        views.append(drawn(desk, {**unit, **more}, model="rest-xl"))
    told = [view["images"][0]["spec"]["controls"][0]["hint_type"] for view in views]
    assert told == ["canny", "scribble", "depth"]
    both = drawn(desk, {**unit, "hint_type": "canny"}, {**unit, "hint_type": "depth"}, model="rest-xl")
    assert len(both["images"][0]["spec"]["controls"]) == 2
    listed = desk.http.get("/api/v1/controlnets", params={"model": "rest-xl"}).json()["controlnets"]
    view = next(each for each in listed if each["id"] == "rest-union")
    assert view["fits"] is True
    assert view["hint_types"][:2] == ["openpose", "depth"]
    assert "tile" not in view["hint_types"]


def test_a_t2i_adapter_guides_like_a_controlnet(desk: RunningStudio) -> None:
    image = kept(desk, drawing())
    unit = {"model": "rest-t2i-sketch", "image": image, "preprocessor": "scribble_edges"}
    view = next(
        each
        for each in desk.http.get("/api/v1/controlnets", params={"model": TINY}).json()["controlnets"]
        if each["id"] == "rest-t2i-sketch"
    )
    assert (view["kind"], view["type"], view["fits"]) == ("controlnet", "scribble", True)
    made = [
        np.asarray(Image.open(io.BytesIO(desk.http.get(drawn(desk, *units)["images"][0]["url"]).content)))
        for units in ((), (unit,), (unit, {**unit, "model": "rest-canny"}), (unit,))
    ]
    assert np.array_equal(made[1], made[3]), "the features are kept"
    assert len({each.tobytes() for each in made}) == 3
