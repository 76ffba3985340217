"""The Memory tab in the browser: who holds what, pins, release, levels, room, and the forecast under Generate."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from engine.memory.sizes import GIB
from tests.browser.conftest import Studio, Visit


def post(studio: Studio, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{studio.url}/api/v1/memory/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture
def tab(visit: Visit, studio: Studio) -> Iterator[Visit]:
    """The Memory tab after a picture was painted; everything is as it was afterwards."""
    visit.generate("a tree", width=64, height=64, steps=2, seed=1)
    visit.until(lambda: studio.jobs()[0]["status"] == "done")
    visit.tab("Memory")
    visit.page.locator(".easel-part").first.wait_for()
    yield visit
    post(studio, "level", {"level": "auto", "policy": "score", "pool_gb": 0})
    for entry in state(visit)["entries"]:
        post(studio, "pin", {"key": entry["key"], "pinned": False})


def state(visit: Visit) -> Any:
    return visit.studio.get("/api/v1/memory")


def part(visit: Visit, name: str) -> Any:
    return visit.page.locator(".easel-part").filter(has=visit.page.get_by_text(name, exact=True))


def tiers(visit: Visit) -> dict[str, str]:
    return {entry["part"]: entry["tier"] for entry in state(visit)["entries"] if entry["nbytes"]}


def test_what_is_loaded_is_pinned_kept_warm_and_released(tab: Visit) -> None:
    tab.show("memory")
    if not state(tab)["vram_total"]:
        assert tab.page.get_by_text("there is no VRAM").is_visible()
        assert not tab.page.get_by_text("VRAM", exact=True).is_visible()
    part(tab, "UNet").get_by_label("Pin").check()
    tab.until(lambda: tiers(tab)["unet"] == "pinned")
    part(tab, "VAE").get_by_label("Keep warm").check()
    tab.until(lambda: tiers(tab)["vae"] == "warm")
    tab.page.get_by_role("button", name="Free everything now").click()
    tab.until(lambda: set(tiers(tab)) == {"unet"})
    part(tab, "VAE").wait_for(state="detached")
    assert part(tab, "UNet").is_visible()
    tab.page.locator(".easel-memory-log li", has_text="released").first.wait_for()
    part(tab, "UNet").get_by_role("button", name="Release").click()
    tab.page.get_by_text("Nothing is loaded.").wait_for()


def test_level_room_and_policy_change_live_and_are_kept(tab: Visit) -> None:
    tab.tab("Text to image")
    tab.generate("a long one", width=64, height=64, steps=100)
    tab.tab("Memory")
    tab.page.locator(".easel-level input[value=auto]").focus()
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("ArrowDown")
    tab.until(lambda: state(tab)["level"] == "balanced")
    slider = tab.page.get_by_role("slider", name="Room for loaded models")
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    tab.until(lambda: state(tab)["pool_gb"] > 0)
    tab.page.get_by_role("combobox", name="What leaves first").select_option("lfu")
    tab.until(lambda: state(tab)["policy"] == "lfu")
    tab.until(lambda: tab.studio.jobs()[0]["status"] in ("done", "failed"))
    assert tab.studio.jobs()[0]["status"] == "done", tab.studio.jobs()[0]["error"]
    tab.page.reload()
    tab.attached(tab.page)
    tab.tab("Memory")
    tab.page.wait_for_function("document.querySelector('.easel-level input[value=balanced]')?.checked")
    assert slider.input_value() != "0"
    assert tab.page.get_by_role("combobox", name="What leaves first").input_value() == "lfu"
    tab.page.get_by_role("button", name="Automatic", exact=True).click()
    tab.until(lambda: state(tab)["pool_gb"] == 0)


def test_during_a_running_job_the_level_changes_a_part_is_pinned_and_what_is_in_use_stays(tab: Visit) -> None:
    tab.tab("Text to image")
    tab.generate("a very long one", width=64, height=64, steps=150)
    tab.tab("Memory")
    unet = part(tab, "UNet")
    unet.get_by_text("in use").wait_for()
    unet.get_by_role("button", name="In use").click()
    tab.page.locator(".easel-slip", has_text="is in use and stays").wait_for()
    # The browser itself writes down that the answer was a refusal.
    (told,) = tab.faults
    assert "409" in told
    tab.faults.clear()
    tab.show("memory-in-use")
    part(tab, "VAE").get_by_label("Pin").check()
    tab.until(lambda: tiers(tab).get("vae") == "pinned")
    tab.page.locator(".easel-level input[value=aggressive]").check(force=True)
    tab.until(lambda: state(tab)["effective_level"] == "aggressive")
    assert tab.studio.jobs()[0]["status"] == "running", "the level changed while it was painted"
    tab.until(lambda: tab.studio.jobs()[0]["status"] in ("done", "failed"))
    job = tab.studio.jobs()[0]
    assert (job["status"], job["evaluations"]) == ("done", 150), "no step was repeated"
    tab.until(lambda: set(tiers(tab)) == {"vae"})
    part(tab, "VAE").get_by_role("button", name="Release").click()
    tab.page.get_by_text("Nothing is loaded.").wait_for()


def test_the_levels_are_measured_on_this_machine(tab: Visit) -> None:
    card = tab.page.get_by_role("region", name="Measured on this machine")
    assert card.get_by_text("Nothing is measured yet").is_visible()
    card.get_by_label("Model to measure").select_option(label="Tiny")
    card.get_by_role("button", name="Measure my machine").click()
    card.get_by_role("button", name="Cancel").wait_for()
    tab.show("memory-measuring")
    rows = card.locator("tbody tr")
    rows.nth(3).wait_for()
    tab.until(lambda: not state(tab)["measured"]["job_id"])
    found = {each["level"]: each for each in state(tab)["measured"]["levels"]}
    assert list(found) == ["none", "balanced", "aggressive", "ultra"]
    assert [row.locator("th").inner_text() for row in rows.all()] == ["None", "Balanced", "Aggressive", "Ultra"]
    assert {(each["width"], each["height"]) for each in found.values()} == {(64, 64)}
    card.get_by_text("Tiny, 64 × 64: a picture of 20 steps").wait_for()
    card.get_by_label("Attention kernels, measured").locator("li").nth(1).wait_for()
    level = tab.page.locator(".easel-level").filter(has=tab.page.locator("input[value=balanced]"))
    level.locator(".easel-level-time[data-measured=true]").wait_for()
    assert "Saves" in level.inner_text()
    tab.show("memory-measured")
    card.get_by_role("button", name="Measure my machine").wait_for()


def test_a_model_is_loaded_before_a_picture_needs_it(tab: Visit) -> None:
    tab.page.get_by_role("button", name="Free everything now").click()
    tab.until(lambda: not tiers(tab))
    tab.page.get_by_text("Nothing is loaded.").wait_for()
    tab.page.get_by_label("Model to load ahead").select_option(label="Tiny")
    tab.page.get_by_role("button", name="Load now").click()
    tab.until(lambda: {"unet", "vae", "text_encoder"} <= set(tiers(tab)))
    tab.until(lambda: not state(tab)["ahead"])
    part(tab, "UNet").wait_for()
    tab.page.get_by_text("Caches", exact=True).click()
    assert tab.page.get_by_text("Encoded prompts").is_visible()
    tab.show("memory-ahead")


def test_the_chart_stacks_what_is_loaded_by_kind(tab: Visit) -> None:
    tab.page.wait_for_function("document.querySelectorAll('.easel-chart-part').length >= 3")
    kinds = tab.page.locator(".easel-chart-part").evaluate_all("bands => bands.map((band) => band.dataset.kind)")
    assert {"unet", "text_encoder", "vae"} <= set(kinds)
    assert kinds.index("vae") < kinds.index("unet"), "the lowest is drawn last, over the others"
    keys = tab.page.locator(".easel-memory-legend li:visible", has_text="Text encoders")
    assert keys.count() == 1
    assert "UNet" in tab.page.locator(".easel-chart-read").inner_text()
    assert tab.page.locator(".easel-chart path[data-kind=mark]").count() > 0


def test_the_chart_is_read_by_keys(tab: Visit) -> None:
    chart = tab.page.locator(".easel-chart")
    tab.page.wait_for_function("document.querySelectorAll('.easel-chart path').length >= 3")
    read = tab.page.locator(".easel-chart-read")
    assert read.inner_text().startswith("Now:")
    chart.focus()
    chart.press("Home")
    assert not read.inner_text().startswith("Now:")
    assert "GB" in read.inner_text() or "MB" in read.inner_text()


def test_it_asks_only_while_it_is_seen(tab: Visit) -> None:
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))

    def polls() -> int:
        return sum(url.endswith("/api/v1/memory") for url in asked)

    tab.until(lambda: polls() >= 2)
    tab.tab("History")
    tab.page.wait_for_timeout(500)
    before = polls()
    tab.page.wait_for_timeout(5000)
    assert polls() == before


@pytest.mark.skipif(
    psutil.virtual_memory().total > 100 * GIB, reason="The tiny model's largest pictures (100 GB) fit this machine."
)
def test_the_line_under_generate_warns_and_offers_what_fits(visit: Visit, studio: Studio) -> None:
    hint = visit.page.locator(".easel-memory-hint")
    visit.fill(width=64, height=64, count=1)
    visit.page.wait_for_function("document.querySelector('.easel-memory-hint')?.dataset.fits === 'true'")
    assert "at its peak; it fits" in hint.inner_text()
    visit.fill(width=4096, height=4096, count=16, batch=16)
    # Each field that is filled is asked for by itself: the first answers are of smaller pictures.
    visit.page.wait_for_function("document.querySelector('.easel-memory-hint')?.dataset.fits === 'false'")
    visit.show("memory-warning")
    assert "This does not fit" in hint.inner_text()
    offer = hint.get_by_role("button", name="Use")
    # What is free changes a little meanwhile: the sizes are those that the button named when it was clicked.
    offered = offer.evaluate("button => { const text = button.textContent; button.click(); return text; }")
    visit.until(lambda: offered == f"Use {visit.value('width')} × {visit.value('height')}")
    spec = visit.page.evaluate("import('/static/api.js').then((module) => module.specOfForm())")
    assert offered == f"Use {spec['width']} × {spec['height']}"
    visit.fill(width=64, height=64)
    visit.page.wait_for_function("document.querySelector('.easel-memory-hint')?.dataset.fits === 'true'")
    # A field that cannot be read is told when one generates, not while one types.
    visit.fill(width="")
    visit.page.wait_for_timeout(1500)
    assert visit.page.locator(".easel-slip").count() == 0
    visit.fill(width=64, height=64, count=1, batch=4)


def test_phone_and_dark(chromium: Any, studio: Studio) -> None:
    visit = Visit(chromium, studio, viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    visit.page.locator(".easel-memory-hint").get_by_role("button", name="Memory").click()
    visit.page.get_by_role("radiogroup", name="Memory level").wait_for()
    visit.page.wait_for_function("!document.querySelector('.easel-level:last-child').hidden")
    visit.show("memory-phone")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    visit.context.close()
    assert visit.faults == []
