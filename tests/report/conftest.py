"""A browser without a screen, where there is one."""

import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    """Chromium, told to reach for nothing; what its console says can be read."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,900",
    ):  # fmt: skip
        options.add_argument(argument)
    driven = webdriver.Chrome(options=options, service=Service(driver))
    yield driven
    driven.quit()
