"""The history in the browser: search, large view, favourites, delete and undo, rebuild."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Visit

TILES = "document.querySelectorAll('.easel-tile').length"


@pytest.fixture
def three(visit: Visit) -> Visit:
    """Three pictures of one job, on the History tab, found by a word that only they have."""
    visit.generate("three zebras at noon", count=3, steps=3)
    visit.until(lambda: visit.studio.jobs()[0]["status"] == "done")
    visit.tab("History")
    search(visit, "zebras")
    count = len(visit.studio.get("/api/v1/history?query=zebras")["images"])
    visit.page.wait_for_function(f"{TILES} === {count}")
    return visit


def search(visit: Visit, words: str) -> None:
    visit.page.get_by_role("searchbox").fill(words)


def test_search_finds_words_and_says_when_there_is_nothing(three: Visit) -> None:
    search(three, "noon zebras")
    three.page.wait_for_function(f"{TILES} >= 3")
    search(three, 'zebras AND ( "unicorn')
    three.page.get_by_text("Nothing found").wait_for()
    assert three.page.locator(".easel-tile").count() == 0
    search(three, "zebras " * 300)
    three.page.get_by_text("What you look for has 2,099 characters; a search takes at most 2,000.").wait_for()
    assert not three.page.get_by_text("Nothing found").is_visible()
    assert three.page.locator(".easel-slip").count() == 0
    three.show("history-search-too-long")
    search(three, "noon zebras")
    three.page.wait_for_function(f"{TILES} >= 3")


def test_large_view_with_arrow_keys_and_settings(three: Visit) -> None:
    page = three.page
    page.locator(".easel-tile-open").first.click()
    viewer = page.locator("dialog.easel-viewer")
    viewer.wait_for()
    assert "three zebras at noon" in viewer.inner_text()
    three.show("7-viewer")
    first = viewer.locator("img").get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert viewer.locator("img").get_attribute("src") != first
    page.keyboard.press("ArrowLeft")
    assert viewer.locator("img").get_attribute("src") == first
    page.keyboard.press("Escape")
    viewer.wait_for(state="hidden")


def test_send_to_text_to_image(three: Visit) -> None:
    page = three.page
    page.locator(".easel-tile-open").first.click()
    seed = page.locator("dialog dd").nth(5).inner_text()
    page.locator("dialog").get_by_role("button", name="Use its settings").click()
    page.wait_for_function("document.querySelector('#easel-prompt textarea').value === 'three zebras at noon'")
    page.locator("#easel-generate").wait_for()
    page.wait_for_function(
        "seed => document.querySelector('#easel-seed input, #easel-seed textarea').value === seed", arg=seed
    )


def test_delete_and_undo(three: Visit) -> None:
    page = three.page
    count = page.locator(".easel-tile").count()
    page.locator(".easel-tile-open").first.click()
    page.locator("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_function(f"{TILES} === {count - 1}")
    assert three.studio.get("/api/v1/history?query=zebras")["total"] == count - 1
    # Over the picture that is open now.
    page.locator("dialog").get_by_role("button", name="Undo").click()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="hidden")
    page.wait_for_function(f"{TILES} === {count}")
    assert three.studio.get("/api/v1/history?query=zebras")["total"] == count


def test_several_are_deleted_at_once(three: Visit) -> None:
    page = three.page
    count = page.locator(".easel-tile").count()
    for box in page.get_by_role("checkbox", name="Select this picture").all()[:2]:
        box.check()
    page.locator(".easel-selection").get_by_role("button", name="Delete").click()
    page.wait_for_function(f"{TILES} === {count - 2}")
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function(f"{TILES} === {count}")


def test_favourites(three: Visit) -> None:
    page = three.page
    page.locator(".easel-tile").first.get_by_role("button", name="Favourite").click()
    page.locator(".easel-tile [aria-pressed=true]").wait_for()
    page.get_by_role("button", name="Favourites").click()
    page.wait_for_function(f"{TILES} === 1")
    page.locator(".easel-tile [aria-pressed=true]").click()
    page.get_by_role("button", name="Favourites").click()


def test_rebuild_from_files_is_told(three: Visit) -> None:
    three.page.get_by_role("button", name="Rebuild from files").click()
    three.page.get_by_text("are known already").wait_for()
    files = [three.studio.data / "outputs" / image["name"] for image in three.studio.jobs()[0]["images"]]
    kept = [(file, file.read_bytes()) for file in files[:2]]
    for file, _ in kept:
        file.unlink()
    three.page.get_by_role("button", name="Rebuild from files").click()
    three.page.get_by_text("2 pictures taken out of the list: their files are gone.").wait_for()
    three.show("history-rebuilt")
    for file, data in kept:
        file.write_bytes(data)
    three.page.get_by_role("button", name="Rebuild from files").click()
    three.page.get_by_text("2 pictures back in the list.").wait_for()


def test_a_new_picture_arrives_by_itself(three: Visit) -> None:
    page = three.page
    search(three, "")
    page.wait_for_function("!document.querySelector('.easel-count').textContent.includes('found')")
    other = three.open()
    other.locator("#easel-prompt textarea").fill("a late guest")
    other.locator("#easel-generate").click()
    page.wait_for_function("document.querySelector('.easel-tile figcaption')?.textContent === 'a late guest'")
