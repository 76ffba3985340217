"""Adapters in the browser: gallery, stack, match report, sliders that change the picture, plots, completion."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import Any

import psutil
import pytest
from PIL import Image

from engine.settings import ROOT
from tests.browser.conftest import PATIENCE, Studio, Visit
from tests.support.tiny_adapters import write_preview, write_tiny_lora
from tests.support.tiny_models import write_tiny_sdxl

NAMES = ("watercolour", "neon_glow", "pirate_hat")
DESK = "#easel-stack-desk"
FORM = "#easel-stack-form"


@pytest.fixture(scope="module")
def library(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """Three adapters for the tiny model and one for another family."""
    model = studio.data / "models" / "checkpoints" / "tiny-sd1"
    folder = studio.data / "models" / "loras"
    first = write_tiny_lora(folder / "styles" / "watercolour.safetensors", model, seed=1, words={"watercolour": 9})
    write_preview(first, "#4477aa", "#f0e9dd")
    write_tiny_lora(folder / "styles" / "neon_glow.safetensors", model, seed=2, words={"neon glow": 9}, strength=1.5)
    write_tiny_lora(folder / "pirate_hat.safetensors", model, seed=3, parts=("unet",), words={"pirate hat": 9})
    other = write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "tiny-sdxl", cross_attention_dim=64)
    write_tiny_lora(folder / "for_sdxl.safetensors", other, seed=4, parts=("unet",), base="sdxl_base_v1-0")
    write_tiny_lora(folder / "LCM_tiny.safetensors", model, seed=5, parts=("unet",), strength=0.01)
    deadline = time.monotonic() + PATIENCE / 1000
    wanted = {*NAMES, "for_sdxl", "LCM_tiny"}
    while not wanted <= {each["id"] for each in studio.get("/api/v1/adapters?refresh=true")["adapters"]}:
        assert time.monotonic() < deadline, "the adapters were not found"
        time.sleep(0.5)
    return studio


@pytest.fixture
def desk(visit: Visit, library: Studio) -> Visit:
    """The Adapters tab with an empty stack and an empty prompt."""
    visit.fill(prompt="", seed="")
    visit.tab("Adapters")
    clear = visit.page.locator(DESK).get_by_role("button", name="Remove all")
    if clear.is_visible():
        clear.click()
    visit.page.wait_for_function("document.querySelectorAll('.easel-adapter-card').length >= 4")
    return visit


@pytest.fixture
def three(desk: Visit) -> Visit:
    """All three in the stack, checked against the model."""
    for name in NAMES:
        add(desk, name)
    green(desk, 3)
    return desk


def add(visit: Visit, name: str) -> None:
    visit.page.locator(f'.easel-adapter-card[data-id="{name}"] .easel-card-add').click()


def rows(visit: Visit, place: str = DESK) -> list[str]:
    return visit.page.locator(f"{place} .easel-adapter").evaluate_all("rows => rows.map((row) => row.dataset.name)")  # type: ignore[no-any-return]


def has_rows(visit: Visit, names: Sequence[str], place: str = DESK) -> None:
    """Wait until the stack shows these adapters in this order; it is drawn once a frame."""
    visit.page.wait_for_function(
        """([place, names]) => names.join() ===
        [...document.querySelectorAll(`${place} .easel-adapter`)].map((row) => row.dataset.name).join()""",
        arg=[place, list(names)],
    )


def row(visit: Visit, name: str, place: str = DESK) -> Any:
    return visit.page.locator(f'{place} .easel-adapter[data-name="{name}"]')


def write(visit: Visit, **fields: object) -> None:
    """Fill fields of the form and come back."""
    visit.tab("Text to image")
    visit.fill(**fields)
    visit.tab("Adapters")


def green(visit: Visit, count: int) -> None:
    visit.page.wait_for_function(
        "([place, count]) => document.querySelectorAll(`${place} .easel-badge[data-state=green]`).length === count",
        arg=[DESK, count],
    )


def prompt(visit: Visit) -> str:
    return visit.page.locator("#easel-prompt textarea").input_value()  # type: ignore[no-any-return]


def spec(visit: Visit) -> dict[str, Any]:
    """What the form asks for now."""
    return visit.page.evaluate("import('/static/api.js').then((module) => module.specOfForm())")  # type: ignore[no-any-return]


def paint(visit: Visit) -> bytes:
    """Generate from the Adapters tab; the picture's pixels."""
    known = len(visit.studio.jobs())
    visit.page.locator("easel-glance").get_by_role("button", name="Generate").click()
    visit.until(lambda: len(visit.studio.jobs()) > known and visit.studio.jobs()[0]["status"] in ("done", "failed"))
    job = visit.studio.jobs()[0]
    assert job["status"] == "done", job["error"]
    return pixels(visit, job)


def pixels(visit: Visit, job: dict[str, Any]) -> bytes:
    """The first picture of a job; the files differ in what is written into them."""
    answer = visit.page.request.get(f"{visit.studio.url}/{job['images'][0]['url'].lstrip('/')}")
    return Image.open(io.BytesIO(answer.body())).convert("RGB").tobytes()


def test_a_stack_of_three_is_reported_and_a_slider_changes_the_picture(three: Visit) -> None:
    page = three.page
    has_rows(three, NAMES)
    assert prompt(three) == "watercolour, neon glow, pirate hat"
    badge = row(three, "watercolour").locator(".easel-badge")
    matched, total = [int(word) for word in badge.inner_text().split() if word.isdigit()]
    assert matched == total > 20
    badge.click()
    assert "UNet" in row(three, "watercolour").locator(".easel-report").inner_text()
    three.show("a1-stack")
    write(three, seed="5")
    before = paint(three)
    slider = row(three, "neon_glow").get_by_role("slider", name="Weight")
    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    assert spec(three)["adapters"][1]["unet_weight"] == pytest.approx(0.6)
    assert paint(three) != before
    for _ in range(8):
        slider.press("ArrowRight")
    assert paint(three) == before, "the same stack and seed make the same picture again"


def test_both_places_show_one_stack(three: Visit) -> None:
    three.tab("Text to image")
    has_rows(three, NAMES, FORM)
    assert three.page.locator(f"{FORM} summary .easel-stack-count").inner_text() == "3"
    row(three, "pirate_hat", FORM).get_by_role("switch").click()
    three.page.locator(f"{FORM} .easel-stack-count", has_text="2 of 3").wait_for()
    assert [each["enabled"] for each in spec(three)["adapters"]] == [True, True, False]
    three.show("a2-form")


def test_the_order_changes_with_arrow_keys_and_with_the_pointer(three: Visit) -> None:
    page = three.page
    row(three, "pirate_hat").locator(".easel-grip").focus()
    page.keyboard.press("ArrowUp")
    has_rows(three, ["watercolour", "pirate_hat", "neon_glow"])
    page.keyboard.press("Home")
    has_rows(three, ["pirate_hat", "watercolour", "neon_glow"])
    assert "1 of 3" in str(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    grip = row(three, "pirate_hat").locator(".easel-grip").bounding_box()
    last = row(three, "neon_glow").bounding_box()
    page.mouse.move(grip["x"] + 8, grip["y"] + 12)
    page.mouse.down()
    page.mouse.move(grip["x"] + 8, last["y"] + last["height"] + 20, steps=12)
    page.mouse.up()
    has_rows(three, ["watercolour", "neon_glow", "pirate_hat"])
    assert [each["name"] for each in spec(three)["adapters"]] == rows(three)


def test_no_adapter_twice_and_removing_can_be_undone(three: Visit) -> None:
    add(three, "neon_glow")
    three.page.get_by_text("neon_glow is in the stack already.").wait_for()
    has_rows(three, NAMES)
    row(three, "neon_glow").get_by_role("button", name="Remove from the stack").click()
    has_rows(three, ["watercolour", "pirate_hat"])
    assert prompt(three) == "watercolour, pirate hat"
    three.page.get_by_role("button", name="Undo").last.click()
    has_rows(three, NAMES)
    assert "neon glow" in prompt(three)


def test_a_trigger_word_goes_in_and_out_of_the_prompt(desk: Visit) -> None:
    write(desk, prompt="a red apple")
    add(desk, "watercolour")
    chip = row(desk, "watercolour").locator(".easel-trigger")
    assert (prompt(desk), chip.get_attribute("aria-pressed")) == ("a red apple, watercolour", "true")
    chip.click()
    row(desk, "watercolour").locator('.easel-trigger[aria-pressed="false"]').wait_for()
    assert prompt(desk) == "a red apple"
    assert spec(desk)["adapters"][0]["add_trigger_words"] is False


def test_weights_are_unlinked_and_steps_and_blocks_are_set(desk: Visit) -> None:
    add(desk, "watercolour")
    mine = row(desk, "watercolour")
    mine.get_by_role("button", name="One weight for UNet and text encoder").click()
    mine.get_by_label("Text, as a number").fill("0.25")
    mine.get_by_label("Text, as a number").press("Enter")
    mine.get_by_role("button", name="Steps and blocks").click()
    mine.get_by_label("Acts until, in percent of the steps").press("Home")
    mine.get_by_text("Block weights").click()
    mine.get_by_role("button", name="Composition").click()
    desk.show("a3-more")
    made = spec(desk)["adapters"][0]
    assert (made["unet_weight"], made["text_weight"], made["start"], made["end"]) == (1, 0.25, 0, 0.01)
    assert len(made["blocks"]) == 17
    mine.get_by_label("Block weights as a list").fill("1,2,3")
    mine.get_by_label("Block weights as a list").press("Enter")
    mine.get_by_text("17 or 26 numbers").wait_for()
    assert len(spec(desk)["adapters"][0]["blocks"]) == 17


def test_an_adapter_of_another_family_is_told_before_anything_runs(desk: Visit) -> None:
    add(desk, "for_sdxl")
    badge = row(desk, "for_sdxl").locator(".easel-badge[data-state=red], .easel-badge[data-state=amber]")
    badge.wait_for()
    badge.click()
    assert "SDXL" in row(desk, "for_sdxl").locator(".easel-report").inner_text()
    desk.show("a4-family")


def test_an_adapter_for_few_steps_sets_the_form_and_gives_it_back(desk: Visit) -> None:
    write(desk, steps="25")
    before = chosen(desk)
    add(desk, "LCM_tiny")
    desk.page.get_by_text("LCM_tiny makes a picture in few steps").wait_for()
    desk.until(lambda: chosen(desk) == ("lcm", 6, 1.5))
    desk.show("a11-few-steps")
    row(desk, "LCM_tiny").get_by_role("switch").click()
    desk.until(lambda: chosen(desk) == before)
    row(desk, "LCM_tiny").get_by_role("switch").click()
    desk.until(lambda: chosen(desk) == ("lcm", 6, 1.5))
    desk.page.get_by_role("button", name="Undo").last.click()
    desk.until(lambda: chosen(desk) == before)


def chosen(visit: Visit) -> tuple[str, int, float]:
    made = spec(visit)
    return made["sampler"], made["steps"], made["guidance"]


def test_a_picture_brings_its_stack_back(three: Visit) -> None:
    page = three.page
    row(three, "watercolour").get_by_label("Weight, as a number").fill("0.35")
    row(three, "watercolour").get_by_label("Weight, as a number").press("Enter")
    paint(three)
    wanted = spec(three)["adapters"]
    page.locator(DESK).get_by_role("button", name="Remove all").click()
    assert spec(three)["adapters"] == []
    three.tab("History")
    (painted_image,) = three.studio.jobs()[0]["images"]
    page.locator(f'[data-id="{painted_image["id"]}"] .easel-tile-open').click()
    assert "watercolour 0.35" in page.locator("dialog.easel-viewer").inner_text()
    page.locator("dialog.easel-viewer").get_by_role("button", name="Use its settings").click()
    page.wait_for_function("document.querySelectorAll('#easel-stack-form .easel-adapter').length === 3")
    assert spec(three)["adapters"] == wanted
    three.until(lambda: "pirate_hat" in str(three.studio.stored_form().get("adapters")))
    page.reload()
    three.attached(page)
    page.wait_for_function("document.querySelectorAll('#easel-stack-form .easel-adapter').length === 3")


def test_painting_goes_on_while_a_slider_moves(three: Visit) -> None:
    write(three, seed="11", steps="30")
    known = len(three.studio.jobs())
    three.page.locator(f"{DESK} .easel-repaint").click()
    three.until(lambda: len(three.studio.jobs()) == known + 1)
    slider = row(three, "watercolour").get_by_role("slider", name="Weight")
    for _ in range(10):
        slider.press("ArrowLeft")
    three.until(lambda: three.studio.jobs()[0]["spec"]["adapters"][0]["unet_weight"] == pytest.approx(0.5))
    three.until(lambda: three.studio.jobs()[0]["status"] == "done")
    jobs = three.studio.jobs()[: len(three.studio.jobs()) - known]
    assert {job["spec"]["seed"] for job in jobs} == {11}
    assert all(job["status"] in ("done", "canceled") for job in jobs)
    assert len(jobs) < 8, "one job for each pause, not for each move"
    three.page.locator(f"{DESK} .easel-repaint").click()


def test_a_plot_of_two_weights(three: Visit) -> None:
    page = three.page
    page.locator(DESK).get_by_role("button", name="X/Y plot…").click()
    dialog = page.locator(".easel-plot-dialog")
    paint = dialog.get_by_role("button", name="Paint the grid")
    weights = {name: dialog.get_by_label(f"{name}: weights") for name in ("Across", "Down")}
    slips = page.locator(".easel-slip", has_text=" in “")
    for place, wrong, shown in (("Across", "0, 99", "99"), ("Across", "1,,x", "x"), ("Down", "0 -11", "-11")):
        right = weights[place].input_value()
        weights[place].fill(wrong)
        for _ in range(3):
            paint.click()
        slips.filter(has_text=f"“{shown}” in “{place}” is no weight: numbers from −10 to 10 are").wait_for()
        weights[place].fill(right)
    assert slips.count() == 3, "each sentence once"
    three.show("a5-plot-wrong-weights")
    for close in page.locator(".easel-slip .easel-slip-close").all()[::-1]:
        close.click()
    weights["Across"].fill("0, 1")
    paint.click()
    page.wait_for_function("document.querySelectorAll('.easel-plot-cell[data-state=done] img').length === 6")
    three.show("a5-plot")
    middles = page.evaluate(
        """() => ['.easel-plot-head', '.easel-plot-cell'].map((kind) =>
            [...document.querySelectorAll(`.easel-plot ${kind}`)].slice(0, 2).map((each) => {
                const box = each.getBoundingClientRect();
                return Math.round(box.left + box.width / 2);
            }))"""
    )
    assert middles[0] == pytest.approx(middles[1], abs=1), "a heading stands above the middle of its column"
    made = [[each["unet_weight"] for each in job["spec"]["adapters"]] for job in reversed(three.studio.jobs()[:6])]
    assert made == [[x, y, 1] for y in (0, 0.5, 1) for x in (0, 1)]
    assert len({job["spec"]["seed"] for job in three.studio.jobs()[:6]}) == 1
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename.startswith("weights-seed-")
    page.keyboard.press("Escape")


def test_conflicts_are_shown_and_answered(three: Visit) -> None:
    page = three.page
    page.locator(DESK).get_by_text("Do they get on?").click()
    page.locator(f"{DESK} .easel-heat tbody tr").nth(2).wait_for()
    assert page.locator(f"{DESK} .easel-advice li").count() >= 1
    page.locator(DESK).get_by_role("button", name="First one wins").click()
    assert spec(three)["conflicts"] == "priority"
    three.show("a6-conflicts")
    lines = page.locator(f"{DESK} .easel-legend span").evaluate_all(
        "spans => spans.map((span) => span.querySelector('i').offsetTop < span.offsetTop + span.offsetHeight)"
    )
    assert lines == [True] * 3, "each colour beside its words"
    page.locator(DESK).get_by_role("button", name="Keep both").click()


def test_a_row_whose_file_was_deleted_says_so(desk: Visit) -> None:
    page, studio = desk.page, desk.studio
    model = studio.data / "models" / "checkpoints" / "tiny-sd1"
    file = write_tiny_lora(studio.data / "models" / "loras" / "short_lived.safetensors", model, seed=9, parts=("unet",))
    page.get_by_role("button", name="Look into the folders again").click()
    page.locator('.easel-adapter-card[data-id="short_lived"]').wait_for()
    add(desk, "short_lived")
    green(desk, 1)
    file.unlink()
    add(desk, "pirate_hat")
    badge = row(desk, "short_lived").locator(".easel-badge")
    for refreshed in (False, True):
        if refreshed:
            page.get_by_role("button", name="Look into the folders again").click()
            page.locator('.easel-adapter-card[data-id="short_lived"]').wait_for(state="detached")
        badge.filter(has_text="file is gone").wait_for()
    badge.click()
    assert "is not there any more" in row(desk, "short_lived").locator(".easel-report").inner_text()
    desk.show("a7-file-gone")


def test_stacks_are_kept_under_names(three: Visit) -> None:
    page, desk = three.page, three.page.locator(DESK)
    desk.get_by_text("Saved stacks").click()
    desk.get_by_label("Name for this stack").fill("all three")
    desk.get_by_role("button", name="Save").click()
    kept = desk.locator(".easel-kept-name")
    kept.wait_for()
    desk.get_by_role("button", name="Remove all").click()
    has_rows(three, [])
    kept.click()
    has_rows(three, NAMES)
    page.wait_for_function("document.querySelector('#easel-prompt textarea').value.includes('pirate hat')")
    desk.get_by_role("button", name="Delete the stack all three").click()
    kept.wait_for(state="detached")


def test_suggestions_have_reasons_and_wait_for_a_click(desk: Visit) -> None:
    desk.tab("Text to image")
    desk.fill(prompt="an apple with a neon glow")
    desk.page.locator(f"{FORM} summary").first.click()
    offer = desk.page.locator(f"{FORM} .easel-suggestion", has_text="neon_glow")
    offer.wait_for()
    has_rows(desk, [], FORM)
    assert "neon" in offer.locator("span").inner_text()
    offer.click()
    has_rows(desk, ["neon_glow"], FORM)


def test_the_prompt_box_completes(desk: Visit) -> None:
    page = desk.page
    desk.tab("Text to image")
    box = page.locator("#easel-prompt textarea")
    box.click()
    box.press_sequentially("a fox, pir")
    page.locator(".easel-completions [role=option]").first.wait_for()
    page.keyboard.press("Escape")
    assert page.locator(".easel-completions").count() == 0
    box.press_sequentially("a")
    page.locator(".easel-completions [role=option]", has_text="pirate hat").wait_for()
    desk.show("a7-completion")
    while page.locator(".easel-completions [aria-selected=true]", has_text="pirate hat").count() == 0:
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert prompt(desk) == "a fox, pirate hat"


def test_a_tag_in_the_prompt_becomes_a_row(desk: Visit) -> None:
    write(desk, prompt="a fox <lora:watercolour:0.4:0.2>, flat")
    desk.page.locator(DESK).get_by_role("button", name="Take into the stack").click()
    row(desk, "watercolour").wait_for()
    made = spec(desk)["adapters"][0]
    assert (made["name"], made["unet_weight"], made["text_weight"]) == ("watercolour", 0.4, 0.2)
    assert "<lora" not in prompt(desk)


def test_a_stack_of_three_from_the_starter_kit(desk: Visit) -> None:
    kit = sorted(file.stem for file in (ROOT / "models" / "starter" / "loras").glob("*.safetensors"))[:3]
    page = desk.page
    desk.tab("Text to image")
    desk.choose_model("Easel Starter")
    desk.wait_for_values(model="Easel Starter", guidance="3")
    desk.fill(prompt="a castle", seed="5", steps="8")
    desk.tab("Adapters")
    for name in kit:
        add(desk, name)
    green(desk, 3)
    # What is painted this way does not become the form that the next page opens with.
    page.locator(f"{DESK} .easel-repaint").click()
    first = painted(desk, spec(desk)["adapters"][0]["unet_weight"])
    desk.show("a10-starter-kit")
    slider = row(desk, kit[0]).get_by_role("slider", name="Weight")
    for _ in range(12):
        slider.press("ArrowLeft")
    assert painted(desk, spec(desk)["adapters"][0]["unet_weight"]) != first
    page.locator(f"{DESK} .easel-repaint").click()


def painted(visit: Visit, weight: float) -> bytes:
    """Wait for the picture of the newest job, whose first adapter has this weight; its pixels."""

    def there() -> bool:
        job = visit.studio.jobs()[0]
        return job["status"] == "done" and job["spec"]["adapters"][0]["unet_weight"] == pytest.approx(weight)

    visit.until(there)
    return pixels(visit, visit.studio.jobs()[0])


def test_the_gallery_is_searched_filtered_and_looked_into(desk: Visit) -> None:
    page = desk.page
    search = page.get_by_role("searchbox", name="Search adapters")
    search.fill("neon")
    page.wait_for_function("document.querySelectorAll('.easel-adapter-card').length === 1")
    search.fill("nothing like it")
    page.get_by_text("Nothing found").locator("visible=true").wait_for()
    search.fill("")
    page.locator("#easel-adapters-block").get_by_label("Folder", exact=True).select_option("styles")
    page.wait_for_function("document.querySelectorAll('.easel-adapter-card').length === 2")
    page.get_by_role("button", name="About watercolour").first.click()
    drawer = page.locator("dialog.easel-drawer")
    assert "ss_network_module" in drawer.text_content()
    desk.show("a8-drawer")
    drawer.get_by_role("button", name="Measure its weights").click()
    drawer.get_by_text("changes the weights by").wait_for()
    assert drawer.locator(".easel-impact-bars span").count() == 5
    assert "of 4" in drawer.locator(".easel-impact").inner_text(), "the rank in use, out of 4"
    known = len(desk.studio.jobs())
    drawer.get_by_role("button", name="Try it on your prompt").click()
    drawer.get_by_text("At weight 1 the colours move by").wait_for()
    made = desk.studio.jobs()[: len(desk.studio.jobs()) - known][::-1]
    assert [[each["unet_weight"] for each in job["spec"]["adapters"]] for job in made] == [[], [0.5], [1], [1]]
    assert ["watercolour" in job["spec"]["prompt"] for job in made] == [False, False, False, True]
    assert len({job["spec"]["seed"] for job in made}) == 1
    drawer.evaluate("drawer => drawer.scrollTop = 330")
    desk.show("a12-impact")
    page.keyboard.press("Escape")
    drawer.wait_for(state="hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_width(chromium: Any, library: Studio, scheme: str) -> None:
    phone = Visit(
        chromium, library, viewport={"width": 390, "height": 844}, color_scheme=scheme, is_mobile=True, has_touch=True
    )
    page = phone.page
    phone.tab("Adapters")
    page.wait_for_function("document.querySelectorAll('.easel-adapter-card').length >= 4")
    if not rows(phone):
        add(phone, "watercolour")
        add(phone, "pirate_hat")
    row(phone, rows(phone)[0]).get_by_role("button", name="Steps and blocks").tap()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    phone.show(f"a9-phone-{scheme}")
    phone.tab("Text to image")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    phone.context.close()
    assert (phone.foreign, phone.faults) == ([], [])


def test_the_stack_is_checked_again_when_the_engine_is_back(three: Visit) -> None:
    studio = psutil.Process(three.studio.running.process.pid)
    engine = next(child for child in studio.children(recursive=True) if "engine" in child.cmdline())
    engine.kill()
    three.page.wait_for_function("!window.easel.live.answers")
    row(three, "watercolour").get_by_role("button", name="Remove").click()
    three.page.locator(f"{DESK} .easel-badge", has_text="not checked").first.wait_for()
    green(three, 2)
    # While the engine is away, asking it is answered with 503; the browser writes that down by itself.
    three.faults[:] = [fault for fault in three.faults if "503" not in fault]
