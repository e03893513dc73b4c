import re

from alignet import config

PAGE = config.home() / "reports" / "index.html"


def requests_of(page):
    """Every address that a page asks for, apart from files and what is inside it; a network is refused."""
    asked = []

    def decide(route):
        address = route.request.url
        if re.match(r"(file|data|blob):", address):
            route.continue_()
        else:
            asked.append(address)
            route.abort()

    page.route("**/*", decide)
    return asked


def test_the_report_shows_all_its_pictures_without_a_network(page, screen):
    asked = requests_of(page)
    page.goto(PAGE.as_uri())
    pictures = page.evaluate("[...document.images].map(i => [i.alt, i.complete && i.naturalWidth > 0])")
    assert len(pictures) > 15
    assert all(shown for _, shown in pictures), [alt for alt, shown in pictures if not shown]
    assert all(alt for alt, _ in pictures)
    assert asked == []
    assert PAGE.stat().st_size < 15e6
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate("document.querySelectorAll('math').length") > 5
    screen(page, "report")
    screen(page, "report_whole", full_page=True)


def test_a_notebooks_page_asks_for_nothing_and_leads_back(page, screen):
    asked = requests_of(page)
    page.goto(PAGE.as_uri())
    page.click("a[href^='pages/07_levels']")
    page.wait_for_selector("text=What this run found")
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)")
    assert asked == []
    screen(page, "report_07_levels", full_page=True)
    page.click("text=Report")
    page.wait_for_selector("nav[aria-label=Contents]")


def test_the_report_can_be_printed(page, tmp_path):
    page.goto(PAGE.as_uri())
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 100_000
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 at 96 dots an inch, without its margins
    wide = page.evaluate(
        "[...document.querySelectorAll('figure img, table')].filter(e => e.getBoundingClientRect().right > 721).length"
    )
    assert wide == 0
