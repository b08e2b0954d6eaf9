"""The page in a real browser: Chromium, driven by Playwright, where both are there."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import oocr
from oocr.models.load import read_model
from oocr.play.sources import Playground
from tests.play.page import KEY
from tests.tiny.runs import Tiny

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Open:
    """An open page, the address of its server, and what the browser complained about."""

    page: Any
    address: str
    faults: list[str]

    def wait(self, expression: str) -> None:
        """Until it is true; the page forbids what `wait_for_function` does."""
        until = time.monotonic() + 30
        while not self.page.evaluate(expression):
            assert time.monotonic() < until, expression
            self.page.wait_for_timeout(30)

    def text_of(self, lane: str) -> str:
        """The new text of a lane, once it is there."""
        said = f"document.querySelector('#{lane}-0')?.closest('.lane').querySelector('.status')"
        self.wait(f"/ all |nothing steers/.test({said}?.textContent)")
        parts = self.page.locator(f"[id^={lane}-].new").evaluate_all(
            "nodes => nodes.map(node => (node.previousSibling?.nodeType === 3"
            " ? node.previousSibling.data : '') + node.textContent)"
        )
        return "".join(parts)


@pytest.fixture(scope="module")
def server(play: Playground) -> Iterator[str]:
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra: play")
    from oocr.play.server import play_app

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        settings = uvicorn.Config(play_app(play, KEY), log_level="error", lifespan="on")
        running = uvicorn.Server(settings)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=path, args=SWITCHES)
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, server: str) -> Iterator[Open]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, faults = context.new_page(), list[str]()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on(
        "request",
        lambda r: None if r.url.startswith((server, "data:", "blob:")) else faults.append(r.url),
    )
    page.goto(f"{server}/#key={KEY}")
    yield Open(page, server, faults)
    context.close()
    assert not faults


def test_it_opens_with_a_question_and_its_answers(
    opened: Open, play: Playground, tiny: Tiny
) -> None:
    page = opened.page
    untouched, steered = opened.text_of("untouched"), opened.text_of("steered")
    assert untouched != steered
    probe_set = next(iter(play.probe_sets.values()))
    asked = page.locator("#prompt").input_value()
    assert asked in {example.prompt for example in probe_set.by_id.values()}
    vector = play.sources[probe_set.arms["vector"]].steering
    same = read_model(tiny.path)  # the server's own is at work
    expected = oocr.generate(same, asked, vector, max_new_tokens=play.new_tokens)[0]
    assert steered.replace("⏎", "").strip("·") == expected.rstrip("\ufffd").strip(" ")
    assert "key" not in page.url
    assert page.locator("#bars li").count() > 1
    opened.wait("document.querySelectorAll('#plot circle.point').length > 8")


def test_the_slider_at_0_gives_the_untouched_text(opened: Open) -> None:
    page = opened.page
    untouched, steered = opened.text_of("untouched"), opened.text_of("steered")
    page.get_by_role("slider", name="strength of vector, seed 0").fill("0")
    opened.wait("document.body.textContent.includes('nothing steers')")
    assert opened.text_of("steered") == untouched
    page.keyboard.press("1")
    opened.wait("!document.body.textContent.includes('nothing steers')")
    assert opened.text_of("steered") == steered


def test_the_slider_goes_by_keys_from_0_and_1_too(opened: Open) -> None:
    page = opened.page
    opened.text_of("steered")
    exact = page.locator(".exact").first
    page.get_by_role("slider", name="strength of vector, seed 0").focus()
    for key, value in (("ArrowRight", "1.05"), ("ArrowLeft", "1"), ("ArrowLeft", "0.95")):
        page.keyboard.press(key)
        assert exact.input_value() == value
    page.locator(".row input[type=checkbox]").first.uncheck()
    page.keyboard.press("2")  # a strength switches it on again
    assert page.locator(".row input[type=checkbox]").first.is_checked()
    assert exact.input_value() == "2"


def test_a_preset_changes_the_prompt_and_its_answer(opened: Open) -> None:
    page = opened.page
    opened.text_of("steered")
    before = page.locator("#prompt").input_value(), page.locator("#steered-3").inner_text()
    page.locator("#facets button[aria-pressed=false]").first.click()
    assert page.locator("#prompt").input_value() != before[0]
    assert opened.text_of("steered") != opened.text_of("untouched")


def test_the_slider_ends_where_it_is_let_go(opened: Open) -> None:
    page = opened.page
    opened.text_of("steered")
    page.evaluate(
        "[...Array(40).keys()].forEach(i => { const range = document.querySelector('.range');"
        " range.value = String(-3 + 0.14 * i); range.dispatchEvent(new Event('input')); })"
    )
    value = page.locator(".exact").first.input_value()
    opened.wait("document.querySelector('#run').textContent === 'Run'")
    drawn = opened.text_of("steered")
    page.locator(".exact").first.fill("1")
    opened.wait("document.querySelector('#run').textContent === 'Run'")
    page.locator(".exact").first.fill(value)
    page.wait_for_timeout(200)
    opened.wait("document.querySelector('#run').textContent === 'Run'")
    assert opened.text_of("steered") == drawn
    assert page.locator("#lanes h3").last.inner_text().endswith(f"× {value}")


def test_all_arms_stand_beside_each_other(opened: Open) -> None:
    page = opened.page
    opened.text_of("steered")
    page.get_by_role("button", name="all", exact=True).click()
    opened.text_of("pinned-0")
    opened.text_of("pinned-1")
    titles = page.locator("#lanes h3").all_inner_texts()
    assert [title.split(",")[0] for title in titles] == [
        "Untouched",
        "LoRA",
        "mean of the LoRA",
        "vector",
    ]
    page.get_by_role("button", name="all", exact=True).click()
    opened.wait("document.querySelectorAll('.lane').length === 2")


def test_the_address_brings_the_state_back(opened: Open, browser: Any) -> None:
    page = opened.page
    opened.text_of("steered")
    page.locator("#prompt").fill("Do the people's \"words\" & signs + ' last?")
    page.get_by_role("slider", name="strength of vector, seed 0").fill("2.5")
    page.locator(".row-where select").first.select_option("last")
    page.get_by_role("button", name="Pin", exact=True).click()
    opened.wait("location.hash.includes('pins')")
    steered, address = opened.text_of("steered"), page.url
    other = page.context.new_page()
    other.goto(address)
    again = Open(other, opened.address, [])
    assert again.text_of("steered") == steered
    assert other.locator("#prompt").input_value() == page.locator("#prompt").input_value()
    assert other.locator(".exact").first.input_value() == "2.5"
    assert other.locator(".lane").count() == 3
    other.close()


def test_text_is_never_markup(opened: Open) -> None:
    page = opened.page
    page.locator("#prompt").fill("<img src=x onerror=\"document.title='wrong'\"><b>yes</b>")
    opened.wait("document.querySelector('#untouched-3')")
    opened.text_of("steered")
    assert "wrong" not in page.title()
    assert not page.locator("img, .tokens b").count()
    assert "<b>" in page.locator("#lanes .tokens").first.inner_text().replace(" ", "")


def test_a_token_tells_its_numbers_by_pointer_and_by_keys(opened: Open) -> None:
    page = opened.page
    opened.text_of("steered")
    page.wait_for_timeout(100)
    page.locator("#steered-2").hover()
    card = page.locator("#card")
    for word in ("projection", "cosine", "next"):
        assert word in card.inner_text()
    page.mouse.move(0, 0)
    page.get_by_role("listbox", name="Untouched, token by token").focus()
    page.keyboard.press("End")
    assert "probability" in card.inner_text()
    last = page.locator("[id^=untouched-]").last
    active = page.get_by_role("listbox", name="Untouched, token by token").get_attribute(
        "aria-activedescendant"
    )
    assert active == last.get_attribute("id")


def test_it_is_stopped(opened: Open) -> None:
    page = opened.page
    opened.text_of("steered")
    page.locator("#new-tokens").fill("512")
    page.locator("#new-tokens").press("Enter")
    opened.wait("document.querySelector('#run').textContent === 'Stop'")
    page.locator("#run").click()
    opened.wait("document.querySelector('#run').textContent === 'Run'")
    assert page.locator(".lane .status", has_text="stopped").count() >= 1
    points = page.locator("#plot circle.point").count()
    page.wait_for_timeout(500)  # what was about to begin does not
    assert not page.locator(".running").count()
    assert page.locator("#plot circle.point").count() == points


def test_the_address_of_a_new_server_is_taken_in_the_same_tab(browser: Any, server: str) -> None:
    page = browser.new_page()
    page.goto(f"{server}/#key=of-the-server-before")
    Open(page, server, []).wait("document.body.textContent.includes('needs the key')")
    with page.expect_event("load"):  # an address that differs behind # alone loads nothing itself
        page.goto(f"{server}/#key={KEY}")
    Open(page, server, []).text_of("steered")
    page.close()


def test_prompts_are_asked_as_they_were_given(opened: Open) -> None:
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    chat = [{"role": role, "content": content} for role, content in turns]
    again = """prompt => import('/state.js').then(
        ({ asked, fresh, ofPrompt }) => asked({ ...fresh(), ...ofPrompt(prompt) }))"""
    for prompt in ("a text", chat, chat[:-1], chat[1:2]):
        assert opened.page.evaluate(again, prompt) == prompt


def test_code_and_file_are_shown(opened: Open) -> None:
    page = opened.page
    opened.text_of("steered")
    page.keyboard.press("c")
    opened.wait("document.querySelector('#code-text').textContent.includes('import oocr')")
    page.get_by_role("button", name="YAML").click()
    assert page.locator("#code-text").inner_text().startswith("# Opened by: oocr play")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save play.yaml").click()
    assert saved.value.suggested_filename == "play.yaml"


@pytest.mark.parametrize("width", [390, 860, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off(opened: Open, width: int, scheme: str) -> None:
    page = opened.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    opened.text_of("steered")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, textarea')].filter(n =>"
        " n.offsetParent && !n.labels?.length && !n.getAttribute('aria-label')"
        " && !n.textContent.trim()).length"
    )
    assert unnamed == 0


def test_another_sites_page_cannot_use_it(browser: Any, server: str) -> None:
    page = browser.new_page()
    other = server.replace("127.0.0.1", "localhost")  # another origin
    page.goto(f"{other}/play.css")
    ask = f"""fetch('{server}/api/text', {{method: 'POST', mode: 'no-cors',
        headers: {{}}, body: '{{}}'}}).then(r => r.type + r.status).catch(e => 'blocked')"""
    assert page.evaluate(ask) in ("blocked", "opaque0")
    read = f"fetch('{server}/api/start').then(r => r.text()).catch(e => 'blocked')"
    assert page.evaluate(read) == "blocked"
    page.goto(server)
    Open(page, server, []).wait("document.body.textContent.includes('needs the key')")
    page.close()


def test_a_server_that_is_gone_is_said(browser: Any, play: Playground) -> None:
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra: play")
    from oocr.play.server import play_app

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        running = uvicorn.Server(uvicorn.Config(play_app(play, KEY), log_level="error"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{listening.getsockname()[1]}/#key={KEY}")
        opened = Open(page, "", [])
        opened.text_of("steered")
        running.should_exit = True
        thread.join()
    time.sleep(0.1)
    page.keyboard.press("n")
    opened.wait("document.querySelector('#notice').textContent.includes('does not answer')")
    page.close()
