"""The starter's two ControlNets, driven by hand: a scribble drawn, its hint seen, a window set, a picture made.

Pictures are pasted and dropped; units change their kind; every screen is looked at.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import Studio, Visit
from tests.browser.test_controlnet import LIST, add, picture, spec, titles

SCRIBBLE_AND_CANNY = ["Scribble for the starter", "Canny for the starter"]
FITTING = "import('/static/control_shelf.js').then(({controls}) => controls.fitting().map((view) => view.id))"
# Puts a picture on the clipboard or under the pointer, as a person's paste or drop does.
CARRY = """([selector, kind, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], 'apple.png', {type: 'image/png'}));
  const options = {bubbles: true, cancelable: true};
  const event = kind === 'drop' ? new DragEvent('drop', {...options, dataTransfer: carried})
    : new ClipboardEvent('paste', {...options, clipboardData: carried});
  document.querySelector(selector).dispatchEvent(event);
}"""


@pytest.fixture
def desk(studio: Studio, visit: Visit) -> Visit:
    """The ControlNet tab with the starter chosen, without units."""
    page = visit.page
    visit.choose_model("Easel Starter")
    visit.fill(prompt="a red apple, flat", seed="7")
    visit.tab("ControlNet")
    visit.until(lambda: page.evaluate(FITTING) == ["easel-canny", "easel-scribble"])
    clear = page.locator(LIST).get_by_role("button", name="Remove all")
    if clear.is_visible():
        clear.click()
    return visit


def carry(visit: Visit, selector: str, kind: str) -> None:
    data = base64.b64encode(picture()["buffer"]).decode()
    visit.page.evaluate(CARRY, [selector, kind, data])


def draw_apple(visit: Visit) -> None:
    """A round outline and a stalk on the pad."""
    box = visit.page.locator(".easel-pad-canvas").bounding_box()
    mouse = visit.page.mouse

    def to(across: float, down: float) -> tuple[float, float]:
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    turns = np.linspace(0, 2 * np.pi, 25)
    strokes = [
        [to(0.5 + 0.3 * np.sin(turn), 0.58 - 0.28 * np.cos(turn)) for turn in turns],
        [to(0.5, 0.3), to(0.56, 0.14)],
    ]
    for first, *others in strokes:
        mouse.move(*first)
        mouse.down()
        for place in others:
            mouse.move(*place)
        mouse.up()


def finished(visit: Visit) -> dict[str, Any]:
    """Generate, and the job when it is done."""
    known = len(visit.studio.jobs())
    visit.page.locator("#easel-controls-glance").get_by_role("button", name="Generate").click()
    visit.until(lambda: len(visit.studio.jobs()) > known)
    visit.until(lambda: visit.studio.jobs()[0]["status"] in ("done", "failed"))
    job = visit.studio.jobs()[0]
    assert job["status"] == "done", job["error"]
    return job


def drawn_pixels(visit: Visit, job: dict[str, Any]) -> np.ndarray:
    answer = visit.page.request.get(f"{visit.studio.url}{job['images'][0]['url']}")
    return np.asarray(Image.open(io.BytesIO(answer.body())).convert("L").resize((64, 64)), dtype=float)


def test_a_scribble_drawn_by_hand_and_outlines_of_a_picture_guide_the_starter(desk: Visit) -> None:
    page = desk.page
    plain = drawn_pixels(desk, finished(desk))
    scribble = add(desk)
    scribble.get_by_label("ControlNet", exact=True).select_option("easel-scribble")
    scribble.get_by_role("button", name="Draw it").click()
    draw_apple(desk)
    desk.show("s1-pad")
    page.get_by_role("button", name="Use the drawing").click()
    scribble.locator(".easel-well-hint[data-state=ready] img").wait_for()
    scribble.get_by_label("Weight", exact=True).fill("1.2")
    scribble.get_by_role("button", name="end at 70", exact=True).click()
    canny = add(desk, with_picture=True)
    canny.get_by_role("button", name="late", exact=True).click()
    desk.until(lambda: titles(desk) == SCRIBBLE_AND_CANNY)
    desk.show("s2-two-units")
    first, second = spec(desk)
    assert (first["model"], first["preprocessor"], first["end"]) == ("easel-scribble", "none", 0.7)
    assert (second["model"], second["preprocessor"], second["start"]) == ("easel-canny", "canny", 0.5)
    job = finished(desk)
    kept = job["images"][0]["spec"]["controls"]
    assert [(unit["model"], unit["start"], unit["end"]) for unit in kept] == [
        ("easel-scribble", 0, 0.7), ("easel-canny", 0.5, 1),
    ]  # fmt: skip
    assert np.abs(drawn_pixels(desk, job) - plain).mean() > 3, "the picture follows them"
    desk.show("s3-made")


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_pictures_are_pasted_and_dropped_on_a_unit_and_beside_it(desk: Visit, kind: str) -> None:
    page = desk.page
    unit = add(desk)
    carry(desk, f"{LIST} .easel-unit .easel-well-picture", kind)
    unit.locator(".easel-well-hint[data-state=ready] img").wait_for()
    desk.until(lambda: spec(desk)[0]["image"].startswith("asset:"))
    carry(desk, "#easel-composition-area", kind)
    page.locator(f"{LIST} .easel-unit").nth(1).wait_for()
    desk.until(lambda: len(spec(desk)) == 2 and spec(desk)[1]["image"] == spec(desk)[0]["image"])
    page.locator(f"{LIST} .easel-unit").nth(1).locator(".easel-well-hint[data-state=ready] img").wait_for()


def test_a_unit_becomes_a_reference_and_comes_back(desk: Visit) -> None:
    page = desk.page
    unit = add(desk, with_picture=True)
    unit.get_by_label("Kind").select_option("reference")
    desk.until(lambda: titles(desk) == ["Reference"])
    assert unit.get_by_label("ControlNet", exact=True).is_hidden()
    assert unit.get_by_label("Preprocessor", exact=True).is_hidden()
    assert unit.locator(".easel-well-hint").is_hidden()
    unit.get_by_label("Fidelity, %", exact=True).fill("75")
    desk.until(lambda: spec(desk)[0]["fidelity"] == 0.75)
    asked = spec(desk)[0]
    assert (asked["kind"], asked["model"], asked["weight"]) == ("reference", "", 0.6)
    desk.show("s4-reference")
    page.locator("easel-composition .easel-hint-row img").wait_for()
    job = finished(desk)
    assert job["images"][0]["spec"]["controls"][0]["kind"] == "reference"
    unit.get_by_label("Kind").select_option("ip_adapter")
    unit.locator(".easel-fault", has_text="No IP-Adapter here fits").wait_for()
    desk.show("s5-ip-adapter")
    unit.get_by_label("Kind").select_option("controlnet")
    desk.until(lambda: titles(desk) == SCRIBBLE_AND_CANNY[1:])
    unit.locator(".easel-well-hint[data-state=ready] img").wait_for()


@pytest.mark.parametrize(
    ("scheme", "width", "height"), [("light", 1280, 900), ("dark", 1280, 900), ("light", 390, 844)]
)
def test_every_kind_fits_every_screen(desk: Visit, scheme: str, width: int, height: int) -> None:
    page = desk.page
    page.emulate_media(color_scheme=scheme)
    add(desk, with_picture=True)
    reference = add(desk, with_picture=True)
    reference.get_by_label("Kind").select_option("reference")
    prompt = add(desk, with_picture=True)
    prompt.get_by_label("Kind").select_option("ip_adapter")
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for place, name in enumerate(("controlnet", "reference", "ip-adapter")):
        page.locator(f"{LIST} .easel-unit").nth(place).scroll_into_view_if_needed()
        desk.show(f"s6-{scheme}-{width}-{name}")
