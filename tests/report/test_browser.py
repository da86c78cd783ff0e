"""The page in a real browser: nothing overflows, nothing is logged, requested or run."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hypermnesia import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium")


class Browser:
    """Headless Chromium over the DevTools protocol on a pipe: JSON messages ended by a zero byte."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        read_commands, write_commands = os.pipe()
        read_replies, write_replies = os.pipe()
        # The protocol is spoken on descriptors 3 and 4, whatever numbers the pipes have here.
        command = (
            f"exec 3<&{read_commands} 4>&{write_replies}; exec {CHROMIUM} --headless --remote-debugging-pipe "
            f"--no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --user-data-dir={profile} "
            "about:blank"
        )
        self._log = (profile.parent / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            pass_fds=(read_commands, write_replies),
            stdout=self._log,
            stderr=self._log,
        )
        os.close(read_commands)
        os.close(write_replies)
        self._commands, self._replies = os.fdopen(write_commands, "wb"), os.fdopen(read_replies, "rb")
        self._last, self._rest, self._session = 0, b"", None
        self.events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one command; events that arrive meanwhile are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            reply = self._receive()
            if reply.get("id") == self._last:
                assert "error" not in reply, reply
                return reply["result"]
            self.events.append(reply)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._replies.fileno(), 1 << 20)
            assert part, f"chromium ended: {Path(self._log.name).read_text(errors='replace')[-2000:]}"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path, width: int, dark: bool) -> None:
        """Load a page as a screen of `width` CSS pixels shows it; `events` holds what happened since."""
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def value(self, expression: str) -> Any:
        found = self("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"]["value"]

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG, below what the window shows too."""
        path.parent.mkdir(exist_ok=True)
        shot = self("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def saw(self, *methods: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["method"] in methods]

    def close(self) -> None:
        self._session = None
        self("Browser.close")
        self._process.wait(timeout=30)
        for file in (self._commands, self._replies, self._log):
            file.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium") / "profile")
    yield browser
    browser.close()


@pytest.fixture
def page(full: Any, tmp_path: Path) -> Path:
    page = report.write([full.root], tmp_path / "report.html", "html")
    assert isinstance(page, Path)
    return page


OVERFLOWING = """[...document.querySelectorAll('body *')].filter(element => {
    const box = element.getBoundingClientRect();
    const inside = element.parentElement.closest('.scroll, pre, svg');
    return !inside && box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
}).map(element => element.outerHTML.slice(0, 200))"""

# Labels of the same picture that cover each other. Turned labels have slanted boxes and are left out, and
# so are labels with a halo, which lie where the data put them.
COVERED = """[...document.querySelectorAll('svg')].flatMap(svg => {
    const words = [...svg.querySelectorAll('text:not([transform]):not(.halo)')];
    const boxes = words.map(word => word.getBoundingClientRect());
    return words.flatMap((word, i) => words.slice(i + 1).filter((other, j) => {
        const a = boxes[i], b = boxes[i + 1 + j];
        const sideways = a.left < b.right - 1 && b.left < a.right - 1;
        return a.width && sideways && a.top < b.bottom - 3 && b.top < a.bottom - 3;
    }).map(other => [svg.getAttribute('aria-label'), word.textContent, other.textContent]));
})"""

OPEN_ALL = "document.querySelectorAll('details').forEach(element => element.open = true)"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_page_fits_and_is_silent(
    browser: Browser, page: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    browser.open(page, width, dark)
    browser.screenshot(tmp_path / "screenshots" / f"{width}-{'dark' if dark else 'light'}.png")
    browser.value(OPEN_ALL + "; 0")
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(OVERFLOWING) == []
    assert browser.value(COVERED) == []
    browser.screenshot(tmp_path / "screenshots" / f"{width}-{'dark' if dark else 'light'}-open.png")
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is not dark
    assert browser.saw("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []


def test_hostile_text_is_shown_and_not_run(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, dark=False)
    assert browser.value("document.scripts.length") == 0
    assert browser.value("document.querySelectorAll('[onerror], [onload], [onclick]').length") == 0
    assert "<script>alert(1)</script>" in browser.value("document.querySelector('main table').innerText")
    assert browser.saw("Page.javascriptDialogOpening", "Runtime.exceptionThrown") == []


def test_page_loads_nothing(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, dark=False)
    requests = [event["params"]["request"]["url"] for event in browser.saw("Network.requestWillBeSent")]
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    broken = "[...document.images].filter(image => !image.complete || image.naturalWidth === 0).length"
    assert browser.value("document.images.length") == 60
    assert browser.value(broken) == 0


def test_a_script_that_got_in_would_not_run(browser: Browser, page: Path) -> None:
    """The page's own policy is a second lock: even text that was not escaped could not run."""
    text = page.read_text(encoding="utf-8")
    page.write_text(
        text.replace("</main>", "<script>document.title = 'ran'</script></main>"), encoding="utf-8"
    )
    browser.open(page, 1280, dark=False)
    assert browser.value("document.scripts.length") == 1
    assert browser.value("document.title") != "ran"
