"""The prompt view on the bundled demo model in a real JupyterLab; takes the pictures."""

from __future__ import annotations

import pytest
from browser import lab

import workbench.demo

TEXT = "The striker Elena Marsh plays for"


@pytest.fixture
def notebook(browser, server):
    if not (workbench.demo.assets_dir() / "model" / "config.json").is_file():
        pytest.skip("NO DEMO WEIGHTS: the prompt view is not tested on the demo model")
    context = browser.new_context(viewport={"width": 1100, "height": 1000}, device_scale_factor=2)
    cells = ['import workbench as wb\ns = wb.open("demo")', f"reading = s.read({TEXT!r})\nreading"]
    opened = lab.Notebook(server, context.new_page(), server.write("demo.ipynb", cells))
    opened.run_all()
    opened.page.wait_for_selector(".wb-prompt .wb-bar-row")
    yield opened
    context.close()


@pytest.mark.parametrize(
    ("theme", "name"), [("light", "JupyterLab Light"), ("dark", "JupyterLab Dark")]
)
def test_the_demo_model_reads_a_sentence(notebook, picture, theme, name):
    page = notebook.page
    notebook.theme(name)
    view = page.locator(".wb-prompt")
    page.wait_for_selector(f".wb-prompt[data-wb-theme={theme}]")
    words = [text.strip() for text in page.locator(".wb-tok").all_text_contents()]
    # Names may be several tokens: the last one that ends "Marsh".
    before = "".join(words[: words.index("plays")])
    assert before.lower().endswith("elenamarsh")
    last = words.index("plays") - 1
    page.locator("select[aria-label=SAE]").select_option("resid_post.2")
    page.wait_for_function(
        "document.querySelector('td.wb-c-feature')?.textContent.startsWith('resid_post.2/')"
    )
    page.locator(f".wb-tok[data-at='{last}']").click()
    page.wait_for_function(
        f"document.querySelector('.wb-foot').textContent.includes('selected {last} ')"
    )
    assert page.locator("tr[data-index]").count() > 0
    page.mouse.move(1, 1)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_function("!document.querySelector('.wb-card:popover-open')")
    picture(view, f"prompt-{theme}.png")
