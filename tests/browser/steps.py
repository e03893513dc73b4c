"""What a person does in JupyterLab."""


def run_all(page) -> None:
    """Runs every cell and waits until the kernel is idle again."""
    page.keyboard.press("Escape")
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    page.wait_for_timeout(1500)
    page.wait_for_function(
        "!document.querySelector('.jp-Notebook').innerText.includes('[*]') && "
        "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'",
        timeout=240_000,
    )


def saved(page) -> None:
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)


def scrolled_to(page, selector: str):
    """The first element of a notebook that fits: JupyterLab keeps only the cells near the screen in its page."""
    for _ in range(40):
        if page.locator(selector).count():
            found = page.locator(selector).first
            found.scroll_into_view_if_needed()
            return found
        page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollBy(0, 400)")
        page.wait_for_timeout(250)
    raise AssertionError(f"nowhere in the notebook: {selector}")
