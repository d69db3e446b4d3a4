"""The feature browser in Chromium: as an exported page, and live against its Python side."""

from __future__ import annotations

import json

import pytest
from browser import browsed, features
from browser.live import LivePage
from browser.readings import HOSTILE
from browser.test_prompt_page import CONTRAST

from workbench.widgets import FeatureBrowserView

READY = "document.querySelectorAll('.wb-browser .wb-grid-row .wb-mono').length > 0"


@pytest.fixture
def opened(browser):
    """A page whose problems fail the test."""
    contexts, problems = [], []

    def make(*, width=900, scheme="light", scripts=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=scripts,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: problems.append(message.text) if message.type == "error" else None,
        )
        return page

    yield make
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def snapshot(opened, tmp_path):
    def make(view, **options):
        page = opened(**options)
        page.goto(view.to_html(tmp_path / "view.html").as_uri())
        if options.get("scripts", True):
            page.wait_for_function(READY)
        return page

    return make


@pytest.fixture
def live(opened, monkeypatch):
    # What a job changes is changed where the test waits for it.
    monkeypatch.setattr("workbench.widgets.base._running_loop", lambda: None)

    def make(view, **options):
        page = opened(**options)
        shown = LivePage(page, view)
        page.wait_for_function(READY)
        return shown

    return make


def refs(page):
    return page.locator(".wb-grid-row .wb-mono").all_text_contents()


def named(table):
    return [f"{sae}/{index}" for sae, index in zip(table["sae"], table["feature"], strict=True)]


def status(page, words):
    page.wait_for_function(
        "words => document.querySelector('.wb-foot [role=status]').textContent.includes(words)",
        arg=words,
    )


def drag(page, box, start, end):
    page.mouse.move(box["x"] + box["width"] * start[0], box["y"] + box["height"] * start[1])
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end[0], box["y"] + box["height"] * end[1], steps=4)
    page.mouse.up()


# -- as a page


def test_a_page_holds_the_first_rows_and_says_what_it_leaves_out(snapshot, monkeypatch):
    monkeypatch.setattr("workbench.widgets.browser._SNAPSHOT_ROWS", 300)
    view = FeatureBrowserView(browsed.browser(labels={"resid_post.0/3": "cats"}), order_by="max")
    page = snapshot(view)
    expected = named(view.table)[:300]
    assert refs(page)[:10] == expected[:10]
    status(page, "the first 300 of 1,200 rows")
    assert (
        "1,176 features · 24 without a value left out" in page.locator(".wb-browser").text_content()
    )
    assert (
        page.get_by_label("Filter", exact=True).count() == 0
        or page.get_by_label("Filter", exact=True).is_hidden()
    )
    # What is here can be sorted and brushed.
    page.get_by_role("button", name="mean", exact=True).click()
    rows = view.table.head(300).sort_values("mean", ascending=False, kind="stable")
    assert refs(page)[:10] == named(rows)[:10]
    drag(page, page.locator(".wb-plot-area").bounding_box(), (0.3, 0.3), (0.8, 0.9))
    status(page, "of 1,200 features · by mean")
    assert "brushed" in page.locator(".wb-chips").text_content()
    shown = int(page.locator(".wb-foot [role=status]").text_content().split(" of ")[0])
    assert 0 < shown < 300
    page.get_by_text("Copy as code").click()
    assert "s.features.view(order_by='max')" in page.locator(".wb-code").text_content()


def test_the_dashboard_that_is_open_is_on_the_page(snapshot):
    view = FeatureBrowserView(browsed.browser())
    view._show(features.player(feature="resid_post.0/3"))
    page = snapshot(view)
    assert page.locator(".wb-feature .wb-title").first.text_content() == "resid_post.0/3"


@pytest.mark.parametrize("scripts", [True, False])
def test_hostile_labels_are_only_text(snapshot, scripts):
    view = FeatureBrowserView(browsed.hostile(), order_by="feature", descending=False)
    page = snapshot(view, scripts=scripts)
    if not scripts:
        assert HOSTILE[0] in page.locator(".wb-static").text_content()
        assert page.locator(".wb-static img, .wb-static script").count() == 0
        return
    page.locator(".wb-grid-row").first.hover()
    page.locator(".wb-card:popover-open").wait_for()
    assert HOSTILE[0] in page.locator(".wb-grid").text_content()
    assert page.evaluate("[window.pwned, document.images.length]") == [None, 0]
    assert page.evaluate("document.querySelectorAll('.wb script, .wb svg, .wb img').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [900, 500])
def test_nothing_is_cut_off_and_text_can_be_read(live, scheme, width):
    view = FeatureBrowserView(
        browsed.browser(labels={"resid_post.0/3": "a label " * 12}, partial=True),
        order_by="labelled",
        where=[["dead", "=", False], ["density", "<", 0.5]],
        features_picked=["resid_post.0/3"],
        brush=[1e-5, 0.5, 0.1, 20.0],
    )
    page = live(view, scheme=scheme, width=width).page
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    outside = page.evaluate(
        """() => {
          const box = document.querySelector('.wb').getBoundingClientRect();
          const parts = '.wb-head > *, .wb-foot > *, .wb-browse-tools > *, .wb-browse > *,'
            + ' .wb-controls > *, .wb-selected > *, .wb-chip, .wb-tick-x, .wb-tick-y';
          return [...document.querySelectorAll(parts)].filter(e => e.checkVisibility())
            .filter(e => { const b = e.getBoundingClientRect();
                           return b.right > box.right + 1 || b.left < box.left - 1; })
            .map(e => e.className);
        }"""
    )
    assert outside == []
    assert page.evaluate(
        "document.querySelector('.wb-big').scrollWidth"
        " <= document.querySelector('.wb-big').clientWidth + (innerWidth < 600 ? 400 : 1)"
    )
    assert json.loads(page.evaluate(CONTRAST)) == []


# -- live


def test_rows_of_a_million_are_scrolled_to(live):
    view = FeatureBrowserView(browsed.browser(350_000), order_by="max")
    shown = live(view)
    page, whole = shown.page, view._answered().order
    assert len(whole) == 1_050_000
    big = page.locator(".wb-big")
    assert big.evaluate("e => e.scrollHeight") < 8_100_000
    status(page, "1,050,000 of 1,050,000")
    # A million points are counts.
    assert "per cell" in page.locator(".wb-browse-plot").text_content()

    def at(place):
        return named(view._answers.table.gather(whole[place : place + 3]))

    body = page.locator(".wb-grid-body")
    body.focus()
    body.press("End")
    last = at(1_049_997)
    page.wait_for_function(
        f"document.querySelector('.wb-grid-body').textContent.includes('{last[-1]}')"
    )
    assert refs(page)[-3:] == last
    for key in ("PageUp", "ArrowUp", "Home"):
        body.press(key)
    page.wait_for_function(
        f"document.querySelector('.wb-grid-body').textContent.includes('{at(0)[0]}')"
    )
    # The scroll bar stands for shares of the whole, the wheel for pixels.
    big.evaluate("e => { e.scrollTop = (e.scrollHeight - e.clientHeight) / 2; }")
    page.wait_for_function(
        "Number(document.querySelector('.wb-grid-row')?.ariaRowIndex) > 500000"
        " && !document.querySelector('.wb-grid-row[aria-busy]')"
    )
    first = int(page.locator(".wb-grid-row").first.get_attribute("aria-rowindex")) - 2
    assert abs(first - 525_000) < 50
    assert refs(page)[:3] == at(first)
    box = big.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.wheel(0, 250)
    page.wait_for_function(
        "first => Number(document.querySelector('.wb-grid-row').ariaRowIndex) - 2 === first + 10",
        arg=first,
    )
    # Many scrolls ask for few blocks, and end with the right rows.
    before = shown.asked.count("rows")
    big.evaluate(
        "async e => { for (let i = 1; i <= 60; i += 1) { e.scrollTop = i * 100000;"
        " await new Promise(requestAnimationFrame); } }"
    )
    page.wait_for_function("!document.querySelector('.wb-grid-row[aria-busy]')")
    first = int(page.locator(".wb-grid-row").first.get_attribute("aria-rowindex")) - 2
    assert refs(page)[:3] == at(first)
    assert shown.asked.count("rows") - before <= 61
    # Far apart rows are picked through Python.
    page.locator(".wb-grid-row .wb-mono").first.click(modifiers=["Control"])
    body.press("Shift+PageDown")
    body.press("Shift+PageDown")
    page.wait_for_function("document.querySelectorAll('.wb-grid-row.wb-picked').length > 10")
    assert len(view.features_picked) > 20


def test_brushing_by_keyboard_and_by_pointer(live):
    view = FeatureBrowserView(browsed.browser())
    page = live(view).page
    area = page.locator(".wb-plot-area")
    area.focus()
    for _ in range(3):
        area.press("Shift+ArrowRight")
        area.press("Shift+ArrowUp")
    page.wait_for_function("document.querySelector('.wb-chips').textContent.includes('brushed')")
    low, high = view.brush[0], view.brush[1]
    assert 0 < low < high
    frame = browsed.statistics(400)
    inside = frame["density"].between(*view.brush[:2]) & frame["max"].between(*view.brush[2:])
    assert len(view.selection) == inside.sum() > 0
    area.press("Escape")
    page.wait_for_function("!document.querySelector('.wb-chips').textContent.includes('brushed')")
    assert len(view.selection) == 0
    # To the very corners, nothing is left out.
    drag(page, area.bounding_box(), (0.002, 0.002), (0.998, 0.998))
    status(page, "1,176 of 1,200 features")
    assert len(view.selection) == 1176


def test_errors_searches_and_states_are_said(live):
    view = FeatureBrowserView(browsed.browser(partial=True))
    shown = live(view)
    page = shown.page
    assert "still being built" in page.locator(".wb-partial").text_content()
    page.get_by_label("Filter", exact=True).fill("desnity < 1")
    page.get_by_label("Filter", exact=True).press("Enter")
    page.locator(".wb-error").wait_for()
    assert "did you mean 'density'" in page.locator(".wb-error").text_content()
    page.get_by_label("Filter by").select_option(label="not dense")
    status(page, f"{(browsed.statistics(400)['density'] <= 0.01).sum():,} of 1,200")
    assert page.locator(".wb-error").count() == 0
    # What could not be read stays, to be mended.
    assert page.get_by_label("Filter", exact=True).input_value() == "desnity < 1"
    page.get_by_label("Filter", exact=True).fill("")
    page.get_by_label("Filter by").select_option(label="p99")
    assert page.get_by_label("Filter", exact=True).input_value() == "p99 >= "
    page.get_by_label("Filter", exact=True).fill("p99 >= 1000")
    page.get_by_label("Filter", exact=True).press("Enter")
    status(page, "0 of 1,200")
    assert "No feature fits" in page.locator(".wb-browse-table").text_content()
    page.get_by_label("Remove p99 ≥ 1000").click()
    status(page, "of 1,200")
    # What Python sets is on screen.
    view.order_by, view.descending = "feature", False
    shown.push()
    page.wait_for_function(
        "document.querySelector('.wb-grid-row .wb-mono').textContent === 'resid_post.0/0'"
    )
    assert (
        page.get_by_role("columnheader", name="feature").get_attribute("aria-sort") == "ascending"
    )
    page.locator(".wb-columns summary").click()
    page.get_by_label("p99").check()
    page.wait_for_function("document.querySelector('.wb-grid-head').textContent.includes('p99')")
    assert view.columns == ["density", "max", "mean", "p99"]


def test_without_a_session_a_click_shows_the_figures(live):
    view = FeatureBrowserView(browsed.browser())
    page = live(view).page
    page.locator(".wb-grid-row .wb-mono").nth(1).click()
    page.locator(".wb-card:popover-open").wait_for()
    assert page.locator(".wb-below").is_hidden()
