"""A headless Chromium for tests and screenshots, and what it said: console, requests."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str:
    """Why there is no browser here; empty if there is one."""
    if not any(map(shutil.which, PROGRAMS)):
        return "no Chromium is installed (on Debian: apt install chromium chromium-driver)"
    if not shutil.which("chromedriver"):
        return "no chromedriver is installed (on Debian: apt install chromium-driver)"
    try:
        import selenium  # noqa: F401
    except ModuleNotFoundError:
        return "selenium is not installed (extra dev)"
    return ""


class Browser:
    """One page in a browser of its own."""

    def __init__(self, driver, downloads: Path) -> None:
        self.driver, self.downloads = driver, downloads

    def open(self, path: Path, *, width: int = 1100, height: int = 900, dark: bool = False) -> None:
        """Open a file in a window of this size, and wait until its charts and tables are there."""
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.resize(width, height)
        self.tone(dark)
        self.driver.get(path.resolve().as_uri())
        self.until("return document.documentElement.dataset.ready === 'yes'")

    def resize(self, width: int, height: int) -> None:
        """The size of the page in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def tone(self, dark: bool) -> None:
        """What the system prefers."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def js(self, code: str):
        """The value of `return ...` in the page."""
        return self.driver.execute_script(code)

    def until(self, code: str, seconds: float = 60) -> None:
        """Wait until a script returns true."""
        end = time.monotonic() + seconds
        while not self.js(code):
            if time.monotonic() > end:
                raise TimeoutError(f"{code} was not true after {seconds} s; console: {self.console()}")
            time.sleep(0.05)

    def console(self) -> list[str]:
        """Errors and warnings of the page since it was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened, without what is inside the page."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return [url for url in found if not url.startswith(("data:", "blob:"))]

    def picture(self, path: Path) -> None:
        """What the window shows, as PNG."""
        self.driver.save_screenshot(str(path))

    def printed(self) -> bytes:
        """The page as PDF."""
        import base64

        return base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", {})["data"])


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a folder of its own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory() as folder:
        downloads = Path(folder, "downloads")
        downloads.mkdir()
        options = webdriver.ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={folder}/profile"):
            options.add_argument(flag)
        options.binary_location = next(filter(None, map(shutil.which, PROGRAMS)))
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            allowed = {"behavior": "allow", "downloadPath": str(downloads)}
            driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
            yield Browser(driver, downloads)
        finally:
            driver.quit()
