"""ControlNet units in the browser: pictures, hints, drawing, windows, timeline, advice, what a picture remembers."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from PIL import Image, ImageDraw

from tests.browser.conftest import PATIENCE, Studio, Visit
from tests.support.tiny_controls import write_tiny_union
from tests.support.tiny_models import write_tiny_controlnet, write_tiny_sdxl

LIST = "#easel-controls-list"
FORM = "#easel-controls-form"


@pytest.fixture(scope="module")
def library(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """Two ControlNets for the tiny model, and two for another family."""
    folder = studio.data / "models" / "controlnet"
    model = studio.data / "models" / "checkpoints" / "tiny-sd1"
    write_tiny_controlnet(folder / "tiny-canny", model, seed=1)
    write_tiny_controlnet(folder / "tiny-scribble", model, seed=2)
    other = write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "tiny-sdxl")
    write_tiny_controlnet(folder / "xl-depth", other, seed=3)
    write_tiny_union(folder / "xl-union", other, seed=4)
    deadline = time.monotonic() + PATIENCE / 1000
    wanted = {"tiny-canny", "tiny-scribble", "xl-depth", "xl-union"}
    while not wanted <= {each["id"] for each in studio.get("/api/v1/controlnets")["controlnets"]}:
        assert time.monotonic() < deadline, "the ControlNets were not found"
        studio.get("/api/v1/models?refresh=true")
        time.sleep(0.5)
    return studio


@pytest.fixture
def desk(library: Studio, visit: Visit) -> Visit:
    """The ControlNet tab without units."""
    visit.fill(prompt="a red apple", seed="7")
    visit.tab("ControlNet")
    clear = visit.page.locator(LIST).get_by_role("button", name="Remove all")
    if clear.is_visible():
        clear.click()
    fitting = "import('/static/control_shelf.js').then(({controls}) => controls.fitting().map((view) => view.id))"
    visit.until(lambda: visit.page.evaluate(fitting) == ["tiny-canny", "tiny-scribble"])
    return visit


def picture() -> dict[str, Any]:
    """A photo of sorts, to be uploaded."""
    image = Image.new("RGB", (160, 120), "#88bbee")
    ImageDraw.Draw(image).ellipse((40, 20, 120, 100), fill="#dd4433")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"name": "apple.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def add(visit: Visit, *, with_picture: bool = False) -> Any:
    """A new unit, the last of the list."""
    units = visit.page.locator(f"{LIST} .easel-unit")
    known = units.count()
    visit.page.locator(LIST).get_by_role("button", name="Add a unit").click()
    unit = units.nth(known)
    unit.wait_for()
    if with_picture:
        unit.locator("input[type=file]").set_input_files(picture())
        unit.locator(".easel-well-hint[data-state=ready] img").wait_for()
    return unit


def spec(visit: Visit) -> list[dict[str, Any]]:
    """The units that the form asks for now."""
    return visit.page.evaluate(  # type: ignore[no-any-return]
        "import('/static/api.js').then((module) => module.specOfForm()).then((spec) => spec.controls)"
    )


def titles(visit: Visit, place: str = LIST) -> list[str]:
    return visit.page.locator(f"{place} .easel-row-title").all_inner_texts()  # type: ignore[no-any-return]


def test_a_hint_and_a_drawing_guide_a_picture_that_remembers_them(desk: Visit) -> None:
    page = desk.page
    canny = add(desk, with_picture=True)
    canny.get_by_role("button", name="early", exact=True).click()
    scribble = add(desk)
    assert titles(desk) == ["tiny-canny", "tiny-scribble"]
    scribble.get_by_role("button", name="Draw it").click()
    draw(desk)
    page.get_by_role("button", name="Use the drawing").click()
    scribble.locator(".easel-well-hint[data-state=ready] img").wait_for()
    scribble.get_by_label("Strength").select_option("linear_out")
    desk.show("c1-units")
    first, second = spec(desk)
    assert (first["preprocessor"], first["start"], first["end"], first["weight"]) == ("canny", 0, 0.5, 0.75)
    assert (second["preprocessor"], second["ramp"]) == ("none", "linear_out"), "a drawing is a hint already"
    assert whiteness(desk, second["image"]) > 0.01
    known = len(desk.studio.jobs())
    page.locator("#easel-controls-glance").get_by_role("button", name="Generate").click()
    desk.until(lambda: len(desk.studio.jobs()) > known)
    desk.until(lambda: desk.studio.jobs()[0]["status"] in ("done", "failed"))
    job = desk.studio.jobs()[0]
    assert job["status"] == "done", job["error"]
    kept = job["images"][0]["spec"]["controls"]
    assert [unit["model"] for unit in kept] == ["tiny-canny", "tiny-scribble"]
    page.reload()
    desk.attached(page)
    desk.tab("Text to image")
    page.wait_for_function(f"document.querySelectorAll('{FORM} .easel-unit').length === 2")
    assert page.locator(f"{FORM} summary .easel-stack-count").inner_text() == "2"
    page.locator(FORM).get_by_role("button", name="Remove all").click()
    desk.until(lambda: spec(desk) == [])
    page.get_by_role("button", name="Use its settings").first.click()
    desk.until(lambda: [unit["model"] for unit in spec(desk)] == ["tiny-canny", "tiny-scribble"])
    assert spec(desk)[1]["image"] == second["image"]


def draw(visit: Visit) -> None:
    """Two strokes on the pad, one of them taken back with the keyboard."""
    canvas = visit.page.locator(".easel-pad-canvas")
    box = canvas.bounding_box()
    mouse = visit.page.mouse
    for height in (0.3, 0.6):
        mouse.move(box["x"] + 0.2 * box["width"], box["y"] + height * box["height"])
        mouse.down()
        mouse.move(box["x"] + 0.8 * box["width"], box["y"] + height * box["height"], steps=4)
        mouse.up()
    visit.show("c2-pad")
    visit.page.keyboard.press("Control+z")
    assert visit.page.get_by_role("button", name="Redo (Ctrl+Y)").is_enabled()


def whiteness(visit: Visit, ref: str) -> float:
    """The share of white in a kept picture."""
    answer = visit.page.request.get(f"{visit.studio.url}/api/v1/assets/{ref.removeprefix('asset:')}")
    histogram = Image.open(io.BytesIO(answer.body())).convert("L").histogram()
    return sum(histogram[200:]) / sum(histogram)


def test_units_are_muted_moved_doubled_and_brought_back(desk: Visit) -> None:
    page = desk.page
    first = add(desk, with_picture=True)
    add(desk)
    page.locator(f"{LIST} .easel-grip").nth(1).focus()
    page.keyboard.press("ArrowUp")
    desk.until(lambda: titles(desk) == ["tiny-scribble", "tiny-canny"])
    first = page.locator(f"{LIST} .easel-unit").nth(1)
    first.get_by_role("button", name="Duplicate").click()
    desk.until(lambda: titles(desk) == ["tiny-scribble", "tiny-canny", "tiny-canny"])
    advice = page.locator("easel-composition .easel-advice")
    advice.get_by_text("do the same with the same picture").wait_for()
    page.locator(f"{LIST} .easel-unit").nth(2).get_by_role("switch", name="Unit 3 is on").click()
    desk.until(lambda: [unit["muted"] for unit in spec(desk)] == [False, False, True])
    assert page.locator(f"{LIST} .easel-stack-count").inner_text() == "2 of 3"
    advice.get_by_text("do the same with the same picture").wait_for(state="detached")
    page.locator(f"{LIST} .easel-unit").nth(0).get_by_role("button", name="Remove", exact=True).click()
    desk.until(lambda: titles(desk) == ["tiny-canny", "tiny-canny"])
    page.get_by_role("button", name="Undo").last.click()
    desk.until(lambda: titles(desk) == ["tiny-scribble", "tiny-canny", "tiny-canny"])


def test_the_timeline_shows_and_sets_when_a_unit_works(desk: Visit) -> None:
    page = desk.page
    unit = add(desk)
    lane = page.locator(".easel-lane").first
    lane.get_by_text("6 of 6 steps, up to 0.75", exact=True).wait_for()
    unit.get_by_role("button", name="late", exact=True).click()
    lane.get_by_text("3 of 6 steps, up to 0.75", exact=True).wait_for()
    handle = page.locator(".easel-lane-handle[data-edge=end] .easel-lane-reach").bounding_box()
    plot = page.locator(".easel-timeline").bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(plot["x"] + 0.6 * plot["width"], handle["y"], steps=4)
    page.mouse.up()
    desk.until(lambda: abs(spec(desk)[0]["end"] - 0.6) < 0.02)
    page.locator("easel-composition .easel-advice").get_by_text("it does nothing").wait_for()
    desk.show("c3-timeline")


def test_units_are_compared_with_each_alone_and_all_together(desk: Visit) -> None:
    page = desk.page
    add(desk, with_picture=True)
    add(desk, with_picture=True)
    known = len(desk.studio.jobs())
    page.get_by_role("button", name="Compare…").click()
    dialog = page.get_by_role("dialog", name="Compare the units")
    dialog.get_by_role("button", name="Paint them").click()
    page.wait_for_function("document.querySelectorAll('.easel-compare [data-state=done] img').length === 4")
    dialog.get_by_text("4 of 4 pictures · seed 7").wait_for()
    desk.show("c5-compared")
    titles_shown = dialog.locator("figcaption").all_inner_texts()
    assert titles_shown == ["Without", "tiny-canny", "tiny-scribble", "All together"]
    made = desk.studio.jobs()[: len(desk.studio.jobs()) - known][::-1]
    assert [len(job["spec"]["controls"]) for job in made] == [0, 1, 1, 2]
    page.keyboard.press("Escape")


def test_a_unit_that_does_not_fit_says_so_before_anything_is_painted(desk: Visit) -> None:
    page = desk.page
    unit = add(desk)
    unit.get_by_label("ControlNet", exact=True).select_option("xl-depth")
    fault = unit.locator(".easel-fault", has_text="made for another model")
    fault.wait_for()
    desk.show("c4-misfit")
    unit.get_by_label("Type", exact=True).select_option("scribble")
    fault.wait_for(state="hidden")
    assert spec(desk)[0]["model"] == "tiny-scribble"
    for _ in range(3):
        add(desk)
    page.locator("easel-composition .easel-advice").get_by_text("4 units work together").wait_for()
    desk.show("c5-advice")


def test_preprocessors_that_lack_a_file_are_marked_and_come_last(desk: Visit) -> None:
    unit = add(desk, with_picture=True)
    choice = unit.get_by_label("Preprocessor", exact=True)
    words = choice.locator("option").all_inner_texts()
    lacking = [" – needs" in text or " – not available" in text for text in words]
    assert any(lacking)
    assert lacking == sorted(lacking), "what can be used comes first"
    assert "Depth (MiDaS) – needs a file" in words
    choice.select_option("depth_midas")
    unit.locator(".easel-fault", has_text="put it into models/annotators").wait_for()
    unit.locator(".easel-well-hint", has_text="cannot be used yet").wait_for()
    desk.show("c9-needs-a-file")
    choice.select_option("canny")
    unit.locator(".easel-well-hint[data-state=ready] img").wait_for()
    assert not unit.locator(".easel-fault").first.is_visible()


def test_a_refusal_stands_where_generate_was_pressed(desk: Visit) -> None:
    """On every tab with a Generate of its own; a way out works there too, and a picture that is taken clears it."""
    page = desk.page
    known = len(desk.studio.jobs())
    add(desk)
    glance, other = page.locator("#easel-controls-glance"), page.locator("#easel-glance-block")
    glance.get_by_role("button", name="Generate").click()
    glance.get_by_role("alert").get_by_text("ControlNet unit 1 has no picture.").wait_for()
    desk.show("c8-refused")
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.body.classList.add('dark')")
    desk.show("c8-refused-dark")
    page.set_viewport_size({"width": 390, "height": 844})
    glance.get_by_role("button", name="Generate").click()
    glance.get_by_role("alert").wait_for()
    desk.show("c8-refused-phone")
    glance.get_by_role("button", name="Close").click()
    glance.get_by_role("alert").wait_for(state="detached")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator(LIST).get_by_role("button", name="Remove all").click()
    desk.tab("Text to image")
    assert not page.locator("easel-stage").get_by_role("alert").is_visible()
    desk.fill(prompt="")
    desk.tab("Adapters")
    other.get_by_role("button", name="Generate").click()
    other.get_by_role("alert").wait_for()
    desk.show("c8-refused-adapters")
    desk.tab("Text to image")
    desk.fill(prompt="a red apple", steps="500")
    desk.tab("ControlNet")
    glance.get_by_role("button", name="Generate").click()
    assert len(desk.studio.jobs()) == known
    glance.get_by_role("button", name="Try the model's defaults").click()
    desk.until(lambda: len(desk.studio.jobs()) == known + 1)
    glance.get_by_role("alert").wait_for(state="detached")


def test_the_tab_fits_a_phone_and_every_field_has_a_name(desk: Visit) -> None:
    page = desk.page
    add(desk, with_picture=True)
    add(desk)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = page.evaluate(
        """(list) => [...document.querySelectorAll(`${list} :is(button, input, select)`)]
        .filter((element) => element.offsetParent !== null && !element.labels?.length &&
          !(element.getAttribute('aria-label') || element.textContent.trim() || element.title))
        .map((element) => element.outerHTML)""",
        LIST,
    )
    assert nameless == []
    desk.show("c6-phone")


def test_a_union_controlnet_is_told_what_the_hint_shows(desk: Visit) -> None:
    """The tiny model is no SDXL, so that it does not fit; what it is told is seen all the same."""
    page = desk.page
    unit = add(desk)
    unit.get_by_label("ControlNet", exact=True).select_option("xl-union")
    shows = unit.get_by_label("The hint shows", exact=True)
    shows.wait_for()
    desk.until(lambda: (spec(desk)[0]["hint_type"], spec(desk)[0]["preprocessor"]) == ("canny", "canny"))
    shows.select_option("scribble")
    desk.until(lambda: (spec(desk)[0]["hint_type"], spec(desk)[0]["preprocessor"]) == ("scribble", "scribble_edges"))
    unit.get_by_label("Preprocessor", exact=True).select_option("lineart_standard")
    desk.until(lambda: spec(desk)[0]["hint_type"] == "lineart")
    desk.show("c7-union")
    unit.get_by_label("ControlNet", exact=True).select_option("tiny-canny")
    shows.wait_for(state="hidden")
    assert spec(desk)[0]["hint_type"] == ""
    assert page.locator(f"{LIST} .easel-unit").count() == 1
