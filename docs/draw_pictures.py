"""Draw the pictures of the pages anew that show the demo's report: after a change of its looks.

``python docs/draw_pictures.py DEMO`` takes the folder of a demo (``make demo``). It needs
chromium and chromedriver, and is not part of ``make generate``.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).parent / "images"
MARGIN = 4


def main(demo: Path) -> None:
    output = demo / "output"
    [best] = (output / "sub-01" / "figures").glob("*+bestlayer_figure.png")
    shutil.copyfile(best, IMAGES / "demo-best-layer.png")
    _view(output / "sub-01.html").save(IMAGES / "tutorial-view.png", optimize=True)


def _view(page: Path) -> Image.Image:
    """The interactive view as a browser draws it, with the scores of a layer."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for argument in (
        "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--hide-scrollbars",
        "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--window-size=1040,1200",
    ):  # fmt: skip
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser.get(page.resolve().as_uri())
        WebDriverWait(browser, 60).until(
            lambda it: it.execute_script("return !!document.querySelector('.viewer.ready')")
        )
        box = browser.execute_script(
            """
            const view = document.querySelector(".viewer");
            const map = view.querySelector("[data-part=map]");
            map.value = 0;
            map.onchange();
            const hints = view.querySelectorAll(".hint:not([data-part=about-profile])");
            hints.forEach((one) => one.remove());
            scrollTo(0, 0);
            scrollTo(0, view.getBoundingClientRect().y - 20);
            const { x, y, width, height } = view.getBoundingClientRect();
            return [x, y, x + width, y + height];
            """
        )
        shot = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    finally:
        browser.quit()
    left, top, right, bottom = box
    return shot.crop((left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
