"""Every other task of the Merge tab, done in the browser: bake, extract, merge checkpoints, resize, convert, edit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from engine.library.hashing import auto_v3_of
from engine.library.headers import read_header
from tests.browser.conftest import Visit
from tests.support.adapter_files import cover
from tests.support.tiny_adapters import write_tiny_lora
from tests.support.tiny_models import write_single_file, write_tiny_sd1


@pytest.fixture
def desk(visit: Visit) -> Visit:
    """The Merge tab, with two single-file checkpoints and an adapter for them in the folders."""
    folder = visit.studio.data / "models"
    if not (folder / "loras" / "tiny-word.safetensors").exists():
        first = write_tiny_sd1(visit.studio.data / "made" / "first", seed=1)
        write_single_file(first, folder / "checkpoints" / "one.safetensors")
        other = write_tiny_sd1(visit.studio.data / "made" / "other", seed=2)
        write_single_file(other, folder / "checkpoints" / "two.safetensors")
        write_tiny_lora(folder / "loras" / "tiny-word.safetensors", folder / "checkpoints" / "tiny-sd1")
        visit.studio.get("/api/v1/adapters?refresh=true")
        visit.studio.get("/api/v1/models?refresh=true")
    visit.tab("Merge")
    return visit


def choose(visit: Visit, task: str) -> None:
    visit.page.locator(f'.easel-merge-task[data-task="{task}"]').click()


def pick(visit: Visit, label: str, words: str) -> None:
    """Find something by its words in the picker of that name, and take the one that is called so."""
    field = visit.page.get_by_role("combobox", name=label, exact=True)
    field.fill(words)
    called = visit.page.locator("strong", has_text=re.compile(f"^{re.escape(words)}$"))
    visit.page.locator(".easel-picker-list:not([hidden])").get_by_role("option").filter(has=called).first.click()


def run(visit: Visit, name: str) -> Any:
    """Run what the fields say, and wait until its file is made."""
    visit.page.get_by_label("File name").fill(name)
    visit.page.locator(".easel-merge-go").click()
    card = visit.page.locator(".easel-merge-run").filter(has_text=name).first
    card.wait_for()
    visit.page.wait_for_function(
        """name => [...document.querySelectorAll('.easel-merge-run')].some((card) =>
            card.textContent.includes(name) && ['done', 'failed'].includes(card.dataset.status))""",
        arg=name,
    )
    assert card.get_attribute("data-status") == "done", card.text_content()
    return card


def made(visit: Visit, name: str, folder: str = "loras") -> Path:
    return visit.studio.data / "models" / folder / name


def test_an_adapter_is_baked_into_a_folder_and_into_a_single_file(desk: Visit) -> None:
    choose(desk, "bake")
    pick(desk, "Checkpoint", "Easel Starter")
    pick(desk, "Add an adapter", "Ink")
    desk.show("t1-bake")
    run(desk, "starter with ink")
    assert (made(desk, "starter with ink", "checkpoints") / "unet").is_dir()
    desk.until(lambda: "starter with ink" in {each["id"] for each in desk.studio.get("/api/v1/models")["models"]})

    # What makes the baked one differ from the starter is the adapter again.
    choose(desk, "extract")
    pick(desk, "Tuned checkpoint", "starter with ink")
    pick(desk, "Base checkpoint", "Easel Starter")
    desk.page.get_by_label("Rank", exact=True).fill("8")
    desk.page.get_by_label("Rank", exact=True).press("Tab")
    desk.show("t2-extract")
    card = run(desk, "ink again")
    assert "Energy kept" in card.text_content()
    assert read_header(made(desk, "ink again.safetensors")).metadata["modelspec.merged_from"]
    desk.page.get_by_label("Kind of file").last.select_option("lokr")
    run(desk, "ink lokr")
    assert any("lokr_w1" in name for name in read_header(made(desk, "ink lokr.safetensors")).tensors)

    # A single file stays one.
    choose(desk, "bake")
    pick(desk, "Checkpoint", "one")
    desk.page.locator(".easel-merge-row").get_by_role("button", name="Take it out").click()
    pick(desk, "Add an adapter", "tiny-word")
    run(desk, "one baked")
    before = load_file(made(desk, "one.safetensors", "checkpoints"))
    after = load_file(made(desk, "one baked.safetensors", "checkpoints"))
    assert set(before) == set(after)
    assert any(not before[name].equal(after[name]) for name in before)
    desk.show("t3-baked")


def test_checkpoints_are_merged(desk: Visit) -> None:
    choose(desk, "checkpoint")
    pick(desk, "Add a checkpoint", "one")
    pick(desk, "Add a checkpoint", "two")
    desk.show("t4-checkpoints")
    run(desk, "one and two")
    files = [load_file(made(desk, f"{name}.safetensors", "checkpoints")) for name in ("one", "two", "one and two")]
    name = next(each for each in files[0] if "attn1.to_q.weight" in each)
    wanted = (files[0][name].double() + 0.5 * files[1][name].double()) / 1.5
    assert (files[2][name].double() - wanted).abs().max() < 1e-2


def test_an_adapter_is_resized_and_converted(desk: Visit) -> None:
    choose(desk, "resize")
    pick(desk, "Adapter", "Ink")
    desk.page.get_by_label("Rank", exact=True).fill("2")
    desk.page.get_by_label("Rank", exact=True).press("Tab")
    card = run(desk, "small ink")
    desk.show("t5-resized")
    assert "Energy kept" in card.text_content()
    header = read_header(made(desk, "small ink.safetensors"))
    ranks = {info.shape[0] for name, info in header.tensors.items() if name.endswith("lora_down.weight")}
    assert ranks == {2}
    choose(desk, "convert")
    desk.page.get_by_label("Keys for").select_option("diffusers")
    desk.page.get_by_label("Precision").select_option("float32")
    run(desk, "ink for diffusers")
    header = read_header(made(desk, "ink for diffusers.safetensors"))
    assert all(".lora_A." in name or ".lora_B." in name for name in header.tensors)
    assert {info.dtype for info in header.tensors.values()} == {"F32"}
    desk.show("t6-converted")


def test_adapters_are_compared_in_one_grid(desk: Visit) -> None:
    page = desk.page
    desk.tab("Text to image")
    desk.choose_model("Easel Starter")
    desk.wait_for_values(model="Easel Starter")
    desk.fill(prompt="a castle", seed="twelve", steps="4")
    desk.tab("Merge")
    choose(desk, "compare")
    for title in ("Ink", "Blob"):
        pick(desk, "Add an adapter", title)
    assert page.get_by_label("Prompts, one a line").input_value() == "a castle"
    page.get_by_label("Prompts, one a line").fill("a castle\na boat")
    page.get_by_label("Weights", exact=True).fill("0.5, 1")
    desk.show("t8-compare")
    go = page.locator(".easel-merge-go")
    go.click()
    # A form that cannot be read is told, and the button does not wait for ever.
    page.locator(".easel-slip", has_text="seed").wait_for()
    page.wait_for_function("!document.querySelector('.easel-merge-go').disabled")
    desk.tab("Text to image")
    desk.fill(seed="7")
    desk.tab("Merge")
    go.click()
    card = page.locator(".easel-comparison").first
    card.locator("table[aria-label='Side effects']").wait_for()
    card.locator(".easel-comparison-grid img").wait_for()
    page.wait_for_function("document.querySelector('.easel-comparison-grid img')?.naturalWidth > 300")
    card.scroll_into_view_if_needed()
    desk.show("t9-compared")
    view = desk.studio.get("/api/v1/comparisons")["comparisons"][0]
    assert view["status"] == "done"
    # None; two weights and one without its words for each of both.
    assert len(view["plan"]["rows"]) == 7
    assert {each["title"].split()[0] for each in view["report"]["side_effects"]} == {"Ink", "Blob"}
    # After a silence, in which anything may have happened, the list is asked for again.
    page.evaluate(
        """() => Promise.all([import('/static/comparisons.js'), import('/static/live.js')]).then(
            ([{ comparisons }, { live }]) => {
                comparisons.take({ ...comparisons.list[0], status: 'running', image: null });
                for (const connected of [false, true]) { live.connected = connected; live.tell('connection'); }
            })"""
    )
    page.wait_for_function(
        "import('/static/comparisons.js').then((module) => module.comparisons.list[0].status === 'done')"
    )


def test_the_details_of_a_file_are_edited_in_place(desk: Visit) -> None:
    path = made(desk, "tiny-word.safetensors")
    digest = auto_v3_of(path)
    choose(desk, "edit")
    # What the file says arrives late: it must not overwrite what was typed meanwhile.
    desk.page.evaluate(
        """() => { const ask = window.fetch; window.fetch = async (...given) => {
            const answer = await ask(...given);
            if (!String(given[0]).endsWith('/adapters/tiny-word')) return answer;
            await new Promise((go) => setTimeout(go, 1500));
            setTimeout(() => (window.told = true), 100);
            return answer; }; }"""
    )
    pick(desk, "Adapter", "tiny-word")
    desk.page.get_by_label("Title", exact=True).fill("A tiny word")
    desk.page.get_by_label("Trigger words", exact=True).fill("tiny, word")
    desk.page.get_by_label("Licence", exact=True).fill("CC0-1.0")
    desk.page.evaluate(
        """picture => import('/static/merge_draft.js').then(({ draft }) => {
            draft.metadata.thumbnail = picture; draft.tell('values'); })""",
        cover(),
    )
    desk.page.wait_for_function("window.told")
    desk.show("t7-edit")
    desk.page.locator(".easel-merge-go").click()
    desk.page.get_by_text("Its data is unchanged").wait_for()
    told = read_header(path).metadata
    assert (told["modelspec.title"], told["modelspec.license"]) == ("A tiny word", "CC0-1.0")
    assert told["modelspec.trigger_phrase"] == "tiny, word"
    assert told["modelspec.thumbnail"].startswith("data:image/jpeg")
    assert auto_v3_of(path) == digest
