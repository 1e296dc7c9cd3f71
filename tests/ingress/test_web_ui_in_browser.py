"""The web UI in a real Chromium, with a real server, real stores and real MP4 files."""

import contextlib
import io
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import httpx
import numpy as np
import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, Request, Route, expect, sync_playwright

from deployments.encoder.mp4 import write_mp4
from deployments.signed_urls import Signer
from models.checkpoint.profile import DISTILLED_SIGMAS, CheckpointProfile, Family
from models.clip import Clip
from models.names import DEMO_MODEL_NAME, TINY_MODEL_NAME
from models.progress import Progress, Stage
from models.request.adjustments import FIXED_STEPS, Adjustment
from storage.inputs import TaskInputs, unpack_inputs
from storage.outputs.store import preview_key
from storage.tasks import ANONYMOUS, Failure, ServedModel, State, Task
from tests.ingress.conftest import MODEL, PROMPT, Box, image_file
from tests.ingress.keys import ALICE, KEYS
from tests.ingress.language_model import WRITTEN, serve_language_model
from tests.ingress.media import audio_file, decode_frames

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FAKE_MICROPHONE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}

PATIENCE_MS = 60_000
"""Timeout of one step. On a busy machine Chromium may hang for longer than the 5 s of `expect` itself."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *FAKE_MICROPHONE]
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    """One second of color, with a tone."""
    frames = np.zeros((25, 128, 192, 3), np.uint8)
    frames[..., 0] = np.arange(192, dtype=np.uint8)
    frames[..., 2] = 10 * np.arange(25, dtype=np.uint8)[:, None, None]
    tone = 0.2 * np.sin(np.arange(24_000) * 0.1, dtype=np.float32)
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    write_mp4(Clip(frames, np.stack([tone, tone]), 24_000, Fraction(25)), path, max_bytes=None, metadata={})
    return path.read_bytes()


@dataclass(frozen=True)
class Visit:
    """An open web UI, and the server behind it."""

    page: Page
    box: Box
    problems: list[str]

    def task_id(self) -> str:
        """The id of the newest card's task."""
        return str(self.page.locator("article.card").first.get_attribute("data-task"))

    def ask(self, prompt: str = PROMPT) -> None:
        self.page.get_by_label("Prompt", exact=True).fill(prompt)
        with self.page.expect_response("**/async_*"):
            self.page.get_by_role("button", name="Make the video").click()


@pytest.fixture
def visit(served_box, browser) -> Iterator[Callable[..., Visit]]:
    """A function that opens the web UI. In the end it must have contacted no other host, and its console is clean."""
    with contextlib.ExitStack() as stack:
        opened: list[Visit] = []

        def open_it(context: dict[str, Any] = DESKTOP, **values: Any) -> Visit:
            box = served_box(**values)
            base_url = str(box.client.base_url)
            page = stack.enter_context(contextlib.closing(browser.new_context(**context))).new_page()
            page.set_default_timeout(PATIENCE_MS)
            problems: list[str] = []
            page.on("console", lambda message: message.type == "error" and problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on(
                "request",
                lambda request: request.url.startswith((base_url, "blob:" + base_url)) or problems.append(request.url),
            )
            page.goto(base_url)
            opened.append(Visit(page, box, problems))
            return opened[-1]

        yield open_it
        for each in opened:
            assert each.problems == []


def cards(visit: Visit):
    return visit.page.locator("article.card")


def choose(visit: Visit, field: str, *greys: int) -> None:
    """Choose an image of one grey for a place, or several as keyframes."""
    inputs = "#keyframe-files" if field == "keyframe" else f"[name={field}]"
    visit.page.locator(inputs).set_input_files([grey_file(grey) for grey in greys])


def grey_file(grey: int) -> FilePayload:
    buffer = io.BytesIO()
    Image.new("RGB", (192, 128), (grey, grey, grey)).save(buffer, "PNG")
    return {"name": f"{grey}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def given_to(box: Box) -> list[tuple[int, float, int]]:
    """Frame, strength and grey, to the nearest ten, of each image of the next task."""
    task = box.claim()
    assert task.input_key is not None
    images = unpack_inputs(b"".join(box.outputs.open(task.input_key))).images
    return [(each.place.frame, each.place.strength, grey_of(each.content)) for each in images]


def grey_of(image: bytes) -> int:
    return round(np.asarray(Image.open(io.BytesIO(image)).convert("L")).mean() / 10) * 10


def walk_to_the_end(here: Visit, video: bytes) -> tuple[Task, Request]:
    """From the prompt to a video that plays, also after a reload. Returns the task, and the request following it."""
    page, box = here.page, here.box
    here.ask()
    expect(cards(here)).to_have_count(1)
    expect(cards(here)).to_contain_text("Next in the queue")
    with page.expect_request("**/events") as followed:
        task = box.start()
    for step in (10, 30):
        box.tasks.report_progress(task, Progress(Stage.DENOISING, step))
        expect(cards(here)).to_contain_text(f"Step {step} of 40")
    box.complete(task, video)
    expect(cards(here)).to_contain_text("Done in")
    assert plays(page)
    page.reload()
    expect(cards(here)).to_contain_text("Done in")
    expect(cards(here)).to_contain_text(PROMPT)
    assert plays(page)
    return task, followed.value


def plays(page: Page) -> bool:
    """Whether the video plays and has audio."""
    page.wait_for_selector("video")
    return bool(
        page.evaluate("""async () => {
            const video = document.querySelector("video");
            video.muted = true;
            await video.play();
            await new Promise((resolve) => video.addEventListener("timeupdate", () => video.currentTime && resolve()));
            return video.videoWidth === 192 && video.webkitAudioDecodedByteCount > 0;
        }""")
    )


def test_a_prompt_becomes_a_video_that_plays_and_stays_over_a_reload(visit, video):
    task, followed = walk_to_the_end(visit(), video)
    assert task.owner == ANONYMOUS
    assert "authorization" not in followed.headers


def test_a_finished_card_has_a_menu_of_further_files(visit, video):
    here = visit()
    walk_to_the_end(here, video)
    expect(here.page.get_by_role("link", name="Last frame")).to_be_hidden()
    here.page.get_by_text("More files").click()
    for name, media_type in (("Audio", "audio/wav"), ("Last frame", "image/png"), ("Spritesheet", "image/jpeg")):
        answer = httpx.get(here.page.get_by_role("link", name=name).get_attribute("href"), timeout=60)
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)


def test_the_form_sends_what_it_shows(visit):
    here = visit()
    here.page.get_by_text("Portrait").click()
    here.page.get_by_role("slider", name="Length").fill("2")
    here.page.get_by_text("Advanced").click()
    here.page.get_by_label("num_inference_steps").fill("12")
    here.page.get_by_label("seed").fill("99")
    assert here.page.get_by_label("generate_audio").is_checked()
    here.page.get_by_label("generate_audio").uncheck()
    here.ask("A cat")
    expect(cards(here)).to_have_count(1)
    request = here.box.claim().request
    assert request.generate_audio is False
    assert (request.prompt, request.width, request.height) == ("A cat", 512, 768)
    assert (request.num_frames, request.num_inference_steps, request.seed) == (49, 12, 99)


def test_a_seed_of_64_bits_is_sent_and_shown_to_the_digit(visit):
    """JavaScript would round it, like every number above 2^53."""
    here = visit()
    here.page.get_by_text("Advanced").click()
    here.page.get_by_label("seed").fill("18446744073709551615")
    here.ask("A cat")
    expect(cards(here)).to_contain_text("seed 18446744073709551615")
    assert here.box.claim().request.seed == 2**64 - 1


def test_a_card_says_what_the_model_renders_otherwise(visit):
    here = visit()
    here.ask()
    expect(cards(here)).to_have_count(1)
    here.box.tasks.record_adjustments(here.box.start(), [Adjustment("num_inference_steps", 40, 8, FIXED_STEPS)])
    expect(cards(here)).to_contain_text("num_inference_steps: 8, not 40 (a distilled model has fixed steps)")


def test_an_image_goes_with_the_prompt(visit):
    here = visit()
    choose(here, "image", 200)
    expect(here.page.get_by_alt_text("First frame: the chosen image")).to_be_visible()
    here.ask()
    expect(cards(here)).to_contain_text("from an image")
    assert given_to(here.box) == [(0, 1, 200)]


FOUR_GIVEN = [(0, 1, 200), (120, 0.5, 50), (36, 1, 100), (60, 0.75, 150)]


def choose_four(here: Visit) -> None:
    """A first frame, a last one, and a keyframe by seconds and one by its number."""
    page = here.page
    choose(here, "image", 200)
    choose(here, "end_image", 50)
    choose(here, "keyframe", 100, 150)
    page.get_by_label("Last frame: strength").fill("0.5")
    page.get_by_label("Keyframe: its place").first.fill("1.44")
    page.get_by_label("Keyframe: its place").last.fill("60")
    page.get_by_label("Keyframe: unit of its place").last.select_option("frame")
    page.get_by_label("Keyframe: strength").last.fill("0.75")


def test_a_last_frame_and_keyframes_go_with_the_prompt_and_again_with_another_seed(visit, video):
    here = visit()
    choose_four(here)
    here.ask()
    expect(cards(here)).to_contain_text("from 4 images")
    assert given_to(here.box) == FOUR_GIVEN
    here.box.tasks.fail(here.box.row(here.task_id()), Failure("no", "internal_error", retryable=False))
    for field in ("first frame", "last frame"):
        here.page.get_by_role("button", name=f"Remove {field}").click()
    cards(here).get_by_role("button", name="Try again").click()
    expect(cards(here)).to_have_count(2)
    assert given_to(here.box) == FOUR_GIVEN


def test_the_form_shows_all_images_of_an_earlier_task_again(visit):
    here = visit()
    choose_four(here)
    here.ask()
    given_to(here.box)
    for name in ("Remove first frame", "Remove last frame", "Remove keyframe", "Remove keyframe"):
        here.page.get_by_role("button", name=name).first.click()
    here.box.tasks.cancel(here.task_id())
    cards(here).get_by_role("button", name="Edit").click()
    here.ask("Another prompt")
    expect(cards(here)).to_have_count(2)
    assert given_to(here.box) == FOUR_GIVEN


def test_after_a_reload_images_keep_their_places_and_are_asked_for_again(visit):
    here = visit()
    choose_four(here)
    here.ask()
    given_to(here.box)
    here.box.tasks.cancel(here.task_id())
    here.page.reload()
    cards(here).get_by_role("button", name="Try again").click()
    expect(here.page.get_by_text("Choose the files again")).to_be_visible()
    expect(here.page.get_by_label("Keyframe: its place").last).to_have_value("60")
    choose(here, "image", 200)
    choose(here, "end_image", 50)
    for grey, keyframe in zip((100, 150), here.page.locator("[name=keyframe]").all(), strict=True):
        keyframe.set_input_files([grey_file(grey)])
    here.ask()
    expect(cards(here)).to_have_count(2)
    assert given_to(here.box) == FOUR_GIVEN


def test_a_keyframe_outside_the_video_is_told_at_its_own_input(visit):
    here = visit()
    choose(here, "keyframe", 100, 150, 200)
    places = here.page.get_by_label("Keyframe: its place")
    assert [each.input_value() for each in places.all()] == ["2.4", "3.6", "1.2"]
    places.nth(1).fill("99")
    here.ask()
    expect(places.nth(1)).to_be_focused()
    expect(places.nth(1)).to_have_attribute("aria-invalid", "true")
    expect(here.page.get_by_role("alert")).to_contain_text("seconds from 0s to 4.8s")
    # Chromium's own message about the response
    here.problems[:] = [each for each in here.problems if "422" not in each]
    here.page.get_by_role("button", name="Remove keyframe").nth(1).click()
    here.ask()
    expect(cards(here)).to_contain_text("from 2 images")
    assert given_to(here.box) == [(60, 1, 100), (30, 1, 200)]


def test_the_last_frame_of_a_video_becomes_the_first_of_the_next_in_its_size(visit, video):
    here = visit()
    here.page.get_by_text("Portrait").click()
    here.ask()
    here.box.complete(here.box.start(), video)
    here.page.get_by_text("Square").click()
    cards(here).get_by_role("button", name="Use last frame").click()
    expect(here.page.get_by_alt_text("First frame: the chosen image")).to_be_visible()
    expect(here.page.get_by_label("Prompt", exact=True)).to_be_focused()
    here.ask("It goes on")
    expect(cards(here)).to_have_count(2)
    task = here.box.claim()
    assert (task.request.width, task.request.height) == (512, 768)
    (image,) = unpack_inputs(b"".join(here.box.outputs.open(task.input_key))).images
    assert Image.open(io.BytesIO(image.content)).getpixel((0, 0))[2] > 200  # blue rises with each frame


def test_the_estimate_counts_the_images(visit):
    here = visit()
    estimated = here.page.locator("#estimated")
    here.page.get_by_label("Prompt", exact=True).fill(PROMPT)
    sizes = []
    for add in (lambda: None, lambda: choose_four(here)):
        add()
        expect(estimated).to_have_text("")
        here.page.get_by_role("button", name="Estimate").click()
        expect(estimated).to_contain_text("GB of GPU memory")
        sizes.append(float(re.findall(r"[\d.]+(?= GB)", estimated.inner_text())[0]))
    assert sizes[0] < sizes[1]
    assert not any(here.box.tasks.counts().values())


@pytest.mark.parametrize(
    ("name", "image_format", "shown"), [("IMG_1.HEIC", "HEIF", False), ("boat.avif", "AVIF", True)]
)
def test_a_heic_or_avif_goes_with_the_prompt_also_where_the_browser_cannot_show_it(visit, name, image_format, shown):
    pillow_heif.register_heif_opener()  # to write a HEIC file
    here = visit()
    content = image_file(192, 128, image_format)
    here.page.locator("[name=image]").set_input_files({"name": name, "mimeType": "", "buffer": content})
    preview = here.page.get_by_alt_text("First frame: the chosen image")
    if shown:
        expect(preview).to_be_visible()
    else:
        expect(here.page.get_by_text(f"{name}: chosen, though this browser cannot show it")).to_be_visible()
        expect(preview).to_be_hidden()
    here.ask()
    expect(cards(here)).to_have_count(1)
    assert here.box.claim().input_key is not None


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_an_image_can_be_pasted_and_dropped_and_taken_back(visit, way):
    here = visit()
    here.page.wait_for_selector("#shapes input")
    here.page.evaluate(
        """([way, content]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(content)], "boat.png", { type: "image/png" }));
            const event = way === "paste"
                ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
                : new DragEvent("drop", { dataTransfer: data, bubbles: true });
            document.body.dispatchEvent(event);
        }""",
        [way, list(image_file())],
    )
    preview = here.page.get_by_alt_text("First frame: the chosen image")
    expect(preview).to_be_visible()
    here.page.get_by_role("button", name="Remove first frame").click()
    expect(preview).to_be_hidden()
    here.ask()
    expect(cards(here)).to_have_count(1)
    assert here.box.claim().input_key is None


def test_images_stay_where_they_are_dropped_and_else_fill_both_ends(visit):
    here = visit()
    here.page.wait_for_selector("#shapes input")
    for place, grey in (("body", 200), ("body", 50), (".add", 100), (".keyframes .drop", 150)):
        here.page.evaluate(
            """([place, content]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(content)], "boat.png", { type: "image/png" }));
                const event = new DragEvent("drop", { dataTransfer: data, bubbles: true });
                document.querySelector(place).dispatchEvent(event);
            }""",
            [place, list(grey_file(grey)["buffer"])],
        )
    here.ask()
    expect(cards(here)).to_contain_text("from 3 images")
    assert given_to(here.box) == [(0, 1, 200), (120, 1, 50), (60, 1, 150)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_copied_curl_command_sends_all_images(visit, tmp_path):
    here = visit({**DESKTOP, "permissions": ["clipboard-read", "clipboard-write"]})
    choose_four(here)
    here.ask()
    assert given_to(here.box) == FOUR_GIVEN
    cards(here).get_by_role("button", name="Copy as curl").click()
    expect(here.page.locator("#announcer")).to_have_text("The command is copied")
    names = {"image": 200, "end_image": 50, "keyframe-1": 100, "keyframe-2": 150}
    for name, grey in names.items():
        (tmp_path / f"{name}.jpg").write_bytes(grey_file(grey)["buffer"])
    command = here.page.evaluate("navigator.clipboard.readText()")
    subprocess.run(["bash", "-c", command], check=True, capture_output=True, timeout=30, cwd=tmp_path)
    assert given_to(here.box) == FOUR_GIVEN


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_copied_curl_command_makes_the_same_task(visit):
    here = visit({**DESKTOP, "permissions": ["clipboard-read", "clipboard-write"]})
    here.ask('It\'s a $HOME with `ticks`, "quotes" and a\nnew line')
    first = here.box.claim()
    cards(here).get_by_role("button", name="Copy as curl").click()
    expect(here.page.locator("#announcer")).to_have_text("The command is copied")
    command = here.page.evaluate("navigator.clipboard.readText()")
    subprocess.run(["bash", "-c", command], check=True, capture_output=True, timeout=30)
    assert here.box.claim().request == first.request


def test_an_error_stands_next_to_its_field(visit):
    here = visit()
    here.page.get_by_text("Advanced").click()
    here.page.get_by_label("width").fill("100")
    here.page.get_by_text("Advanced").click()
    here.ask()
    width = here.page.get_by_label("width")
    expect(width).to_be_focused()
    expect(width).to_have_attribute("aria-invalid", "true")
    field = here.page.locator(".field", has=here.page.locator("#width"))
    expect(field.get_by_role("alert")).to_contain_text("multiple of 64")
    # Chromium's own message about the response
    here.problems[:] = [each for each in here.problems if "422" not in each]
    width.fill("768")
    here.ask()
    expect(cards(here)).to_have_count(1)
    expect(here.page.locator(".field-problem")).to_have_count(0)


def test_a_running_task_can_be_canceled(visit):
    here = visit()
    here.ask()
    here.box.start()
    expect(cards(here)).to_contain_text("Waking the model")
    cards(here).get_by_role("button", name="Cancel").click()
    expect(cards(here)).to_contain_text("Canceled")
    (task,) = here.box.tasks.get_many([cards(here).get_attribute("data-task")])
    assert task.state == State.CANCELED


def test_a_removed_video_is_gone_from_the_page_and_from_the_server(visit, video):
    here = visit()
    here.ask()
    task = here.box.start()
    here.box.complete(task, video)
    cards(here).get_by_role("button", name="Remove").click()
    expect(cards(here)).to_have_count(0)
    expect(here.page.get_by_text("Your videos appear here")).to_be_visible()
    assert here.box.outputs.stat(f"outputs/ltx2_{task.id}.mp4") is None


def test_the_place_in_the_queue_moves_up(visit):
    here = visit()
    first = here.box.submit()
    here.ask()
    expect(cards(here)).to_contain_text("1 before it")
    here.box.tasks.cancel(first)
    expect(cards(here)).to_contain_text("Next in the queue")


def test_without_streams_the_page_polls(visit, video):
    here = visit(ingress={"max_event_streams": 1})
    other = here.box.submit()
    other_task = here.box.start()
    with here.box.client.stream("GET", f"/v1/video/tasks/{other}/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        here.ask()
        task = here.box.start()
        here.box.tasks.report_progress(task, Progress(Stage.DENOISING, 20))
        expect(cards(here)).to_contain_text("Step 20 of 40")
        here.box.tasks.report_progress(task, Progress(Stage.DENOISING, 25))
        expect(cards(here)).to_contain_text("Step 25 of 40")
        here.box.complete(task, video)
        expect(cards(here)).to_contain_text("Done in")
        here.box.complete(other_task, video)
    # Chromium's own message about the response
    here.problems[:] = [each for each in here.problems if "429" not in each]


def show_preview(box: Box, task: Task, grey: int, step: int) -> None:
    """Store a preview of one grey, as a Generator does."""
    buffer = io.BytesIO()
    Image.new("RGB", (256, 144), (grey, grey, grey)).save(buffer, "JPEG")
    box.outputs.put(preview_key(task.id), buffer.getvalue())
    assert box.tasks.record_preview(task, step)


def shows_grey(page: Page, grey: int) -> None:
    """Wait until the card shows a preview of this grey."""
    page.wait_for_function(
        """(grey) => {
            const image = document.querySelector(".card .preview");
            if (!image?.complete || !image.naturalWidth) return false;
            const canvas = document.createElement("canvas").getContext("2d");
            canvas.drawImage(image, 0, 0);
            return Math.abs(canvas.getImageData(9, 9, 1, 1).data[0] - grey) < 9;
        }""",
        arg=grey,
    )


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "polled"])
def test_a_card_shows_each_preview_until_the_video_is_there(visit, video, streams):
    """Each new one takes the place of the one before. With keys, an image cannot load it by its url alone."""
    here = visit(api_keys=KEYS)
    give_key(here, ALICE)
    if not streams:
        here.page.route("**/events", lambda route: route.fulfill(status=429, body="{}"))
    here.ask()
    task = here.box.start()
    for step, grey in ((4, 80), (12, 160)):
        here.box.tasks.report_progress(task, Progress(Stage.DENOISING, step))
        show_preview(here.box, task, grey, step)
        shows_grey(here.page, grey)
        expect(here.page.locator(".card .preview")).to_have_count(1)
    expect(cards(here).get_by_alt_text("The video so far")).to_be_visible()
    expect(cards(here)).to_contain_text("Step 12 of 40")
    here.box.complete(task, video)
    expect(cards(here)).to_contain_text("Done in")
    expect(here.page.locator(".card .preview")).to_have_count(0)
    here.problems[:] = [each for each in here.problems if "429" not in each]


def test_again_asks_for_the_same_with_another_seed(visit, video):
    here = visit()
    here.ask()
    first = here.box.start()
    here.box.complete(first, video)
    cards(here).get_by_role("button", name="Again with another seed").click()
    expect(cards(here)).to_have_count(2)
    second = here.box.claim()
    assert second.request.model_copy(update={"seed": first.request.seed}) == first.request
    assert second.request.seed != first.request.seed


def test_a_failed_task_says_why(visit):
    here = visit()
    here.ask()
    here.box.tasks.fail(here.box.start(), Failure("needs 40 GB, there are 24", "out_of_memory", retryable=False))
    expect(cards(here)).to_contain_text("needs 40 GB, there are 24")


def test_tasks_that_are_gone_drop_out_of_the_list(visit):
    here = visit()
    here.ask()
    expect(cards(here)).to_have_count(1)
    here.page.evaluate("""() => {
        const [entry] = JSON.parse(localStorage.getItem("ltx2.recent"));
        localStorage.setItem("ltx2.recent", JSON.stringify([{ ...entry, id: "0".repeat(32) }, entry]));
    }""")
    here.page.reload()
    expect(cards(here)).to_have_count(1)
    expect(here.page.locator("[data-state=queued]")).to_be_visible()
    # Chromium's own message about the response
    here.problems[:] = [each for each in here.problems if "404" not in each]


def test_more_tasks_than_streams_are_all_followed(visit, video):
    here = visit()
    for number in range(5):
        here.ask(f"Take {number}")
        expect(cards(here)).to_have_count(number + 1)
    for _ in range(5):
        here.box.complete(here.box.start(), video)
    expect(here.page.locator("video")).to_have_count(5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(visit, video, scheme):
    here = visit({**PHONE, "color_scheme": scheme}, model=TINY_MODEL_NAME, notices=("x" * 300,))
    expect(here.page.get_by_text("every video is NOISE")).to_be_visible()
    choose_four(here)
    here.ask("word" * 100)
    task = here.box.claim(TINY_MODEL_NAME)
    assert here.box.tasks.start_run(task)
    here.box.complete(task, video)
    here.page.wait_for_selector("video")
    here.page.get_by_text("Advanced").click()
    here.page.get_by_text("How to write").click()
    assert here.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_demo_model_offers_what_it_can_draw(visit):
    here = visit(model=DEMO_MODEL_NAME)
    expect(here.page.locator(".banner", has_text="demo model")).to_be_visible()
    here.page.get_by_text("How to write").click()
    here.page.locator("#examples").get_by_text("Red circle").click()
    expect(here.page.locator("#prompt")).to_have_value("a red circle moves left on a blue background, a low tone")
    expect(visit().page.locator("#examples").get_by_text("Clay chef")).to_be_attached()


def test_the_keyboard_alone_makes_a_video(visit):
    here = visit()
    here.page.wait_for_selector("#shapes input")
    here.page.keyboard.press("Tab")
    for _ in range(20):
        if here.page.evaluate("document.activeElement.id") == "prompt":
            break
        here.page.keyboard.press("Tab")
    here.page.keyboard.type("A dog runs")
    here.page.keyboard.press("Control+Enter")
    expect(cards(here)).to_have_count(1)
    expect(here.page.locator("#announcer")).to_have_text("The task is accepted")


def test_every_control_has_a_name_for_a_screen_reader(visit):
    here = visit()
    here.page.wait_for_selector("#shapes input")
    check_names(here.page)


def check_names(page: Page) -> None:
    nameless = page.evaluate("""() => [...document.querySelectorAll("input, select, textarea, button, summary")]
        .filter((each) => !(each.labels?.length || each.textContent.trim() || each.getAttribute("aria-label")))
        .map((each) => each.outerHTML)""")
    assert nameless == []
    twice = page.evaluate("""() => [...document.querySelectorAll("[id]")].map((each) => each.id)
        .filter((id, index, all) => all.indexOf(id) !== index)""")
    assert twice == []


def give_key(visit: Visit, key: str) -> None:
    visit.page.get_by_label("API key", exact=False).get_by_role("textbox").fill(key)
    visit.page.get_by_role("button", name="Use this key").click()


@pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_server_with_keys_is_asked_nothing_before_there_is_one_and_all_with_it(visit, video, screen):
    here = visit(screen, api_keys=KEYS)
    key_form = here.page.locator("#key-form")
    expect(here.page.get_by_text("This server asks for an API key.")).to_be_visible()
    give_key(here, ALICE)
    expect(key_form).to_be_hidden()
    task, followed = walk_to_the_end(here, video)
    assert task.owner == "alice"
    assert followed.headers["authorization"] == f"Bearer {ALICE}"
    expect(key_form).to_be_hidden()


def test_a_key_that_the_server_does_not_know_is_asked_for_again(visit):
    here = visit(api_keys=KEYS)
    give_key(here, "ltx2_wrong")
    here.ask()
    expect(here.page.get_by_text("This key is not known to the server.")).to_be_visible()
    assert len(here.problems) == 1
    assert "401" in here.problems.pop()
    give_key(here, ALICE)
    here.ask()
    expect(cards(here)).to_have_count(1)


def test_a_submit_whose_answer_got_lost_is_sent_again_and_makes_one_task(visit):
    here = visit()
    lost: list[str] = []

    def lose(route: Route) -> None:
        lost.append(route.request.headers["idempotency-key"])
        if len(lost) > 1:
            route.continue_()
            return
        route.fetch()
        route.abort()

    here.page.route("**/v1/video/async_t2v", lose)
    here.page.get_by_label("Prompt", exact=True).fill(PROMPT)
    here.page.get_by_role("button", name="Make the video").click()
    expect(cards(here)).to_have_count(1)
    assert lost[0] == lost[1]
    assert here.box.tasks.counts()[State.QUEUED] == 1
    assert [problem for problem in here.problems if "ERR_FAILED" not in problem] == []
    here.problems.clear()


def test_a_card_shows_no_number_that_was_left_to_the_server(visit):
    here = visit()
    here.page.get_by_text("Advanced").click()
    here.page.locator("#num_frames").fill("")
    here.ask()
    facts = cards(here).get_by_role("list", name="Settings")
    expect(facts).to_contain_text(re.compile("768.+512"))
    expect(here.page.locator("body")).not_to_contain_text("undefined")


def test_a_proxy_that_answers_while_the_server_restarts_takes_no_task_from_the_page(visit):
    """HAProxy starts before the routes: its 404 is plain text, and does not mean that the task is missing."""
    here = visit()
    here.ask()
    expect(cards(here)).to_have_count(1)

    def answer_as_proxy(route: Route) -> None:
        route.fulfill(status=404, content_type="text/plain", body="Path not found.")

    here.page.route("**/v1/video/tasks/*", answer_as_proxy)
    with here.page.expect_response(lambda answer: (answer.request.method, answer.status) == ("GET", 404)):
        pass
    with here.page.expect_response(lambda answer: answer.request.method == "DELETE"):
        cards(here).get_by_role("button", name="Cancel").click()
    expect(here.page.get_by_text("The server is not ready")).to_be_visible()
    here.page.unroute("**/v1/video/tasks/*")
    here.box.start()
    expect(cards(here)).to_contain_text("Waking the model")
    assert [problem for problem in here.problems if "404" not in problem] == []
    here.problems.clear()


def test_what_is_sent_while_the_page_still_opens_has_one_card_above_the_older(visit):
    """The list waits for /health, which shows whether a key is needed; the form does not wait."""
    here = visit()
    here.ask()
    expect(cards(here)).to_have_count(1)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    here.page.route("**/health", hold)
    with here.page.expect_request("**/health"):
        here.page.reload(wait_until="domcontentloaded")
    here.ask("A newer one")
    expect(cards(here)).to_have_count(1)
    for route in held:
        route.continue_()
    expect(cards(here)).to_have_count(2)
    expect(cards(here).first).to_contain_text("A newer one")


def test_what_a_proxy_refuses_is_sent_once_and_told_as_it_is(visit):
    """For example an image above nginx's limit of 1 MB: sending it again does not help."""
    here = visit()
    sent = []

    def refuse(route: Route) -> None:
        sent.append(route.request.url)
        route.fulfill(status=413, content_type="text/html", body="<h1>413 Request Entity Too Large</h1>")

    here.page.route("**/v1/video/async_t2v", refuse)
    here.ask()
    expect(here.page.get_by_text("A proxy in front of the server refused this, with status 413")).to_be_visible()
    assert len(sent) == 1
    assert [problem for problem in here.problems if "413" not in problem] == []
    here.problems.clear()


def test_a_video_whose_url_has_lapsed_plays_under_a_fresh_one(visit, video):
    here = visit(api_keys=KEYS)
    give_key(here, ALICE)
    here.ask()
    expect(cards(here)).to_have_count(1)
    task = here.box.start()
    here.box.complete(task, video)
    expect(cards(here)).to_contain_text("Done in")
    key, past = f"outputs/ltx2_{task.id}.mp4", int(time.time()) - 1
    signature = Signer(here.box.tasks.shared_secret("urls"), 60).sign(key, past)
    polls: list[str] = []

    def lapse(route: Route) -> None:
        polls.append(route.request.url)
        body = route.fetch().json()
        lapsed = {} if len(polls) > 1 else {"url": f"http://x/{key}?expires={past}&signature={signature}"}
        route.fulfill(json=body | lapsed)

    here.page.route(f"**/v1/video/tasks/{task.id}", lapse)
    here.page.reload()
    expect(here.page.locator("video")).to_have_attribute("src", re.compile(rf"expires=(?!{past})"))
    assert plays(here.page)
    assert len(polls) == 2
    assert [problem for problem in here.problems if "403" not in problem] == []
    here.problems.clear()


def test_the_api_page_needs_no_other_host_and_describes_every_route(visit):
    here = visit()
    here.page.goto(f"{here.box.client.base_url}/docs")
    document = here.box.client.get("/openapi.json").json()
    described = [*document["paths"].values(), *document["webhooks"].values()]
    count = sum(len(methods) for methods in described)
    expect(here.page.locator(".opblock")).to_have_count(count)


@pytest.mark.parametrize("has_upsampler", [True, False])
def test_two_stages_are_a_choice_only_where_the_server_has_them(visit, monkeypatch, has_upsampler):
    monkeypatch.setattr("deployments.ingress.model_info.CACHE_TTL_S", 0.0)
    here = visit()
    choice = here.page.locator("#upscale")
    here.page.get_by_text("Advanced").click()
    expect(here.page.get_by_label("generate_audio")).to_be_visible()
    expect(choice).to_be_hidden()
    profile = CheckpointProfile(
        Family.LTX_2_3, (28,), use_cross_timestep=True, sigmas=DISTILLED_SIGMAS, upsampler=has_upsampler
    )
    here.box.tasks.record_model(ServedModel(MODEL, profile))
    here.page.reload()
    here.page.get_by_text("Advanced").click()
    expect(here.page.get_by_label("generate_audio")).to_be_visible()
    if not has_upsampler:
        expect(choice).to_be_hidden()
        return
    choice.select_option("2")
    here.ask()
    expect(cards(here)).to_have_count(1)
    assert here.box.claim().request.is_upscaled


def test_a_prompt_is_written_out_by_the_language_model_and_taken_back(visit):
    with serve_language_model() as language_model:
        page = visit(enhance=language_model.settings).page
        prompt = page.get_by_label("Prompt", exact=True)
        prompt.fill(PROMPT)
        page.get_by_role("button", name="Write it out").click()
        expect(prompt).to_have_value(WRITTEN)
        page.get_by_role("button", name="Back to mine").click()
        expect(prompt).to_have_value(PROMPT)
        prompt.fill(f"{PROMPT} At night.")
        page.get_by_role("button", name="Write it out").click()
        expect(prompt).to_have_value(WRITTEN)
        assert "At night." in language_model.asked[-1]["messages"][1]["content"]


def test_without_a_language_model_the_page_offers_none(visit):
    page = visit().page
    expect(page.locator("#server")).to_contain_text("sleeps")
    expect(page.get_by_role("button", name="Write it out")).to_be_hidden()


def test_loras_of_the_server_are_chosen_with_their_scales_and_shown_again(visit):
    names = ("ink", "oil", "a", "b", "c")
    loras = {name: {"path": f"/loras/{name}.safetensors", "max_scale": 1.5} for name in names}
    here = visit(generator={"loras": {**loras, "ink": {**loras["ink"], "trigger": "ink drawing"}}})
    page, scale = here.page, here.page.get_by_label("Scale of ink")
    expect(page.locator("#loras")).to_contain_text("ink drawing")
    expect(scale).to_be_hidden()
    here.ask()
    assert here.box.claim().request.loras == ()
    for name in ("ink", "oil", "a", "b"):
        page.get_by_label(name, exact=True).check()
    expect(page.get_by_label("c", exact=True)).to_be_disabled()
    for name in ("oil", "a", "b"):
        page.get_by_label(name, exact=True).uncheck()
    scale.fill("0.5")
    choose(here, "image", 100)
    here.ask()
    (chosen,) = here.box.claim().request.loras
    assert (chosen.name, chosen.scale) == ("ink", 0.5)


def test_without_loras_the_page_offers_none(visit):
    page = visit().page
    expect(page.locator("#parameters input").first).to_be_attached()
    expect(page.locator("#loras")).to_be_hidden()
    assert page.locator("#camera_motion").count() == 0


def inputs_of(box: Box, task: Task) -> TaskInputs:
    assert task.input_key is not None
    return unpack_inputs(b"".join(box.outputs.open(task.input_key)))


def finish_one(here: Visit, video: bytes) -> None:
    """A finished video on the page, of 25 frames."""
    here.page.get_by_text("Square").click()
    here.page.get_by_text("Advanced").click()
    here.page.get_by_label("num_inference_steps").fill("12")
    here.page.get_by_text("Advanced").click()
    here.ask()
    expect(cards(here)).to_have_count(1)
    here.box.complete(here.box.start(), video)
    here.page.wait_for_function("() => document.querySelector('.card video')?.videoWidth")


def test_a_finished_video_is_extended_and_again_with_another_seed(visit, video):
    here = visit()
    finish_one(here, video)
    opener = cards(here).get_by_role("button", name="Extend")
    opener.click()
    expect(opener).to_have_attribute("aria-expanded", "true")
    panel = here.page.get_by_role("form", name="Extend the video")
    expect(panel.get_by_label("What happens in the new part")).to_have_value(PROMPT)
    panel.get_by_label("What happens in the new part").fill("The gulls leave")
    panel.get_by_role("combobox").select_option("Before the start")
    panel.get_by_label("Length of the new part").fill("2")
    panel.get_by_role("button", name="Make it longer").click()
    expect(cards(here)).to_have_count(2)
    expect(panel).to_have_count(0)
    expect(cards(here).first).to_contain_text("a longer video")
    expect(cards(here).first).to_contain_text(re.compile("192.+128"))
    first = here.box.start()
    assert (first.request.prompt, first.request.num_inference_steps) == ("The gulls leave", 12)
    assert (first.request.width, first.request.height, first.request.num_frames) == (192, 128, 75)
    source = inputs_of(here.box, first).source
    assert source is not None
    assert source.edit.source_at == 50
    here.box.complete(first, video)
    cards(here).first.get_by_role("button", name="Again with another seed").click()
    expect(cards(here)).to_have_count(3)
    second = here.box.claim()
    assert (second.request.prompt, second.request.num_frames) == ("The gulls leave", 75)
    assert second.request.seed != first.request.seed


def test_a_part_is_chosen_on_the_player_and_made_anew(visit, video):
    here = visit(PHONE)
    finish_one(here, video)
    cards(here).get_by_role("button", name="Redo a part").click()
    panel = here.page.get_by_role("form", name="Make a part anew")
    panel.get_by_label("To").fill("0.8")
    panel.get_by_label("From").fill("0.4")
    assert here.page.evaluate("document.querySelector('video').currentTime") > 0
    bar = here.page.locator(".part")
    expect(bar).to_be_visible()
    assert here.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    panel.get_by_role("combobox").select_option("Audio")
    panel.get_by_role("button", name="Redo this part").click()
    expect(cards(here)).to_have_count(2)
    expect(bar).to_have_count(0)
    source = inputs_of(here.box, here.box.claim()).source
    assert source is not None
    assert (source.edit.start_frame, source.edit.end_frame) == (10, 20)
    assert (source.edit.replaces_video, source.edit.replaces_audio) == (False, True)


def test_a_finished_video_is_changed_by_another_prompt(visit, video):
    here = visit(PHONE)
    finish_one(here, video)
    cards(here).get_by_role("button", name="Change it").click()
    panel = here.page.get_by_role("form", name="Change the video")
    panel.get_by_label("What the whole video shows now").fill("The same at night")
    expect(panel.get_by_text("60 %")).to_be_visible()
    panel.get_by_label("How much stays").fill("0.25")
    expect(panel.get_by_text("25 %")).to_be_visible()
    panel.get_by_role("combobox").select_option("Changes too")
    assert here.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    panel.get_by_role("button", name="Make the change").click()
    expect(cards(here)).to_have_count(2)
    expect(cards(here).first).to_contain_text("a changed video")
    task = here.box.claim()
    source = inputs_of(here.box, task).source
    assert source is not None
    assert (task.request.prompt, source.edit.strength, source.edit.replaces_audio) == ("The same at night", 0.25, True)


def test_an_edit_that_is_refused_is_told_in_its_panel(visit, video):
    here = visit()
    finish_one(here, video)
    cards(here).get_by_role("button", name="Extend").click()
    panel = here.page.get_by_role("form", name="Extend the video")
    panel.get_by_label("What happens in the new part").fill("")
    panel.get_by_role("button", name="Make it longer").click()
    expect(panel.get_by_role("alert")).to_contain_text("characters")
    expect(panel.get_by_label("What happens in the new part")).to_be_focused()
    # Chromium's own message about the response
    here.problems[:] = [each for each in here.problems if "422" not in each]


def test_an_audio_file_goes_with_the_prompt_and_an_image(visit):
    here = visit()
    song = {"name": "song.wav", "mimeType": "audio/wav", "buffer": audio_file(3.0)}
    expect(here.page.locator("#audio")).to_be_visible()
    here.page.locator("#audio-file").set_input_files(song)
    expect(here.page.locator("#audio-name")).to_have_text("song.wav")
    expect(here.page.get_by_label("Length", exact=True)).to_be_hidden()
    here.page.get_by_label("From (seconds)").fill("1")
    here.page.get_by_label("Strength").last.fill("0.5")
    choose(here, "image", 200)
    here.ask()
    expect(cards(here)).to_contain_text("from an image")
    expect(cards(here)).to_contain_text("for given audio")
    task = here.box.claim()
    inputs = inputs_of(here.box, task)
    assert inputs.audio is not None
    assert (inputs.audio.strength, len(inputs.images)) == (0.5, 1)
    assert 1.5 < task.request.duration_s < 2.1
    here.page.get_by_role("button", name="Remove audio").click()
    expect(here.page.get_by_label("Length", exact=True)).to_be_visible()


def test_after_a_reload_the_settings_of_audio_wait_for_its_file(visit):
    here = visit()
    song = {"name": "song.wav", "mimeType": "audio/wav", "buffer": audio_file(3.0)}
    expect(here.page.locator("#audio")).to_be_visible()
    here.page.locator("#audio-file").set_input_files(song)
    here.page.get_by_label("From (seconds)").fill("1")
    here.ask()
    expect(cards(here)).to_have_count(1)
    here.box.tasks.cancel(here.task_id())
    here.page.reload()
    cards(here).get_by_role("button", name="Try again").click()
    expect(here.page.locator("#audio").get_by_role("alert")).to_contain_text("Choose the file again")
    here.page.locator("#audio-file").set_input_files(song)
    expect(here.page.get_by_label("From (seconds)")).to_have_value("1")


def test_the_estimate_counts_the_part_of_the_audio_that_is_used(visit):
    here = visit()
    estimated = here.page.locator("#estimated")
    here.page.get_by_label("Prompt", exact=True).fill(PROMPT)
    expect(here.page.locator("#audio")).to_be_visible()
    song = {"name": "song.wav", "mimeType": "audio/wav", "buffer": audio_file(12.0)}
    here.page.locator("#audio-file").set_input_files(song)
    sizes = []
    for start, told in (("", "12.0 s of audio, 300 frames."), ("10", "2.0 s of audio, 50 frames.")):
        here.page.get_by_label("From (seconds)").fill(start)
        here.page.get_by_role("button", name="Estimate").click()
        expect(estimated).to_contain_text(told)
        sizes.append(float(re.findall(r"[\d.]+(?= GB)", estimated.inner_text())[0]))
    assert sizes[0] > sizes[1]
    here.page.get_by_label("Length (seconds)").fill("0.1")
    expect(estimated).to_have_text("")
    here.page.get_by_role("button", name="Estimate").click()
    expect(here.page.get_by_text("You gave 0.1")).to_be_visible()
    here.problems[:] = [each for each in here.problems if "422" not in each]


def test_a_microphone_that_is_not_allowed_is_told(visit):
    here = visit()
    here.page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('no')); }")
    here.page.get_by_role("button", name="Record").click()
    expect(here.page.get_by_text("The browser allows no microphone here.")).to_be_visible()


def test_a_recording_from_the_microphone_goes_with_the_prompt(visit):
    here = visit({**DESKTOP, "permissions": ["microphone"]})
    here.page.get_by_role("button", name="Record").click()
    here.page.get_by_role("button", name="Stop, 1 s").click()
    expect(here.page.locator("#audio-name")).to_contain_text("recording.")
    here.page.get_by_label("Prompt", exact=True).fill(PROMPT)
    here.page.get_by_role("button", name="Estimate").click()
    expect(here.page.locator("#estimated")).to_contain_text(re.compile(r"[12]\.\d s of audio, \d+ frames\."))
    here.ask()
    expect(cards(here)).to_contain_text("for given audio")
    assert inputs_of(here.box, here.box.claim()).audio is not None


IC_LORAS = {
    "canny": {"path": "/loras/canny.safetensors", "control": "canny", "trigger": "thin lines", "max_scale": 1.5},
    "depth": {"path": "/loras/depth.safetensors", "control": "depth", "reference_downscale_factor": 2},
    "ink": {"path": "/loras/ink.safetensors"},
}


def open_with_control(visit: Callable[..., Visit], context: dict[str, Any] = DESKTOP) -> Visit:
    here = visit(context, generator={"loras": IC_LORAS})
    expect(here.page.locator("#control")).to_be_visible()
    return here


def choose_control(here: Visit, video: bytes) -> None:
    clip: FilePayload = {"name": "clip.mp4", "mimeType": "video/mp4", "buffer": video}
    here.page.locator("#control-file").set_input_files(clip)
    expect(here.page.locator("#control-name")).to_have_text("clip.mp4")
    here.page.wait_for_function("() => document.querySelector('#control-player').videoWidth")


def control_of(box: Box, task: Task) -> tuple[str, float, float, bool]:
    """The LoRA of the task's control video, its scale, the strength, and whether it has only edges, white on black."""
    control = inputs_of(box, task).control
    assert control is not None
    (scale,) = (each.scale for each in task.request.loras if each.name == control.lora)
    luma = decode_frames(control.content)[0][: task.request.height // control.downscale_factor]
    return control.lora, scale, control.strength, {*np.unique(luma)} <= {16, 235}


def test_a_control_video_goes_with_the_prompt_and_its_lora(visit, video):
    here = open_with_control(visit)
    page = here.page
    choose_control(here, video)
    expect(page.locator("#control")).to_contain_text("Say “thin lines” in the prompt.")
    expect(page.locator("#length-row")).to_be_hidden()
    expect(page.locator("#shape-row")).to_be_hidden()
    page.get_by_label("ink", exact=True).check()
    page.get_by_label("Scale of the LoRA").fill("0.75")
    page.get_by_label("Strength of the control video").fill("0.5")
    here.ask()
    expect(cards(here)).to_contain_text("follows a control video")
    expect(cards(here)).to_contain_text(re.compile("192.+128"))
    task = here.box.claim()
    assert control_of(here.box, task) == ("canny", 0.75, 0.5, True)
    assert {each.name for each in task.request.loras} == {"canny", "ink"}
    assert (task.request.width, task.request.height, task.request.num_frames) == (192, 128, 25)
    assert task.adjustments == ()
    page.get_by_label("LoRA", exact=True).select_option("depth")
    expect(page.locator("#control")).to_contain_text("near is light")
    expect(page.get_by_label("Make the edges")).to_be_hidden()
    here.ask()
    expect(cards(here)).to_have_count(2)
    assert control_of(here.box, here.box.claim()) == ("depth", 1, 0.5, False)


def test_edges_are_left_to_the_user_where_the_video_has_them_already(visit, video):
    here = open_with_control(visit)
    choose_control(here, video)
    here.page.get_by_label("Make the edges").uncheck()
    here.ask()
    expect(cards(here)).to_have_count(1)
    assert control_of(here.box, here.box.claim()) == ("canny", 1, 1, False)


def test_what_does_not_go_with_a_control_video_is_off_says_why_and_comes_back(visit, video):
    here = open_with_control(visit)
    page = here.page
    choose_control(here, video)
    expect(page.locator("#audio:disabled")).to_contain_text("A control video goes without audio.")
    page.get_by_text("Advanced").click()
    expect(page.get_by_label("num_frames")).to_be_disabled()
    expect(page.locator(".field", has=page.locator("#width"))).to_contain_text("As the control video has it.")
    drop(here, "#audio", {"name": "song.wav", "type": "audio/wav"}, b"RIFF")
    expect(page.locator("#problem")).to_have_text("A control video goes without audio.")
    page.get_by_role("button", name="Remove control video").click()
    expect(page.locator("#control-file")).to_be_focused()
    expect(page.get_by_label("num_frames")).to_be_enabled()
    expect(page.locator(".why")).to_have_count(0)


def test_images_go_with_a_control_video(visit, video):
    here = open_with_control(visit)
    choose_control(here, video)
    choose(here, "image", 200)
    choose(here, "end_image", 50)
    here.ask()
    expect(cards(here)).to_have_count(1)
    inputs = inputs_of(here.box, here.box.claim())
    assert inputs.control is not None
    assert [(each.place.frame, grey_of(each.content)) for each in inputs.images] == [(0, 200), (24, 50)]


def drop(here: Visit, place: str, file: dict[str, str], content: bytes) -> None:
    here.page.evaluate(
        """([place, { name, type }, content]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(content)], name, { type }));
            const event = new DragEvent("drop", { dataTransfer: data, bubbles: true });
            document.querySelector(place).dispatchEvent(event);
        }""",
        [place, file, list(content)],
    )


@pytest.mark.parametrize(
    ("place", "has_loras", "taken_by"),
    [("body", True, "control"), ("#audio", True, "audio"), ("body", False, "audio")],
)
def test_a_dropped_video_is_a_control_video_unless_it_is_dropped_on_the_audio(visit, video, place, has_loras, taken_by):
    here = open_with_control(visit) if has_loras else visit()
    expect(here.page.locator("#audio")).to_be_visible()
    drop(here, place, {"name": "clip.mp4", "type": "video/mp4"}, video)
    expect(here.page.locator(f"#{taken_by}-name")).to_have_text("clip.mp4")
    other = {"control": "audio", "audio": "control"}[taken_by]
    expect(here.page.locator(f"#{other}-name")).to_have_text("")


def test_a_finished_video_becomes_the_control_video_of_the_next(visit, video):
    here = open_with_control(visit, PHONE)
    finish_one(here, video)
    source = here.task_id()
    cards(here).get_by_role("button", name="Use as control video").click()
    expect(here.page.get_by_label("Prompt", exact=True)).to_be_focused()
    expect(here.page.locator("#control-name")).to_have_text("One of your videos")
    here.page.wait_for_function("() => document.querySelector('#control-player').videoWidth === 192")
    assert here.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    here.page.get_by_label("Strength of the control video").fill("0.25")
    here.ask("A stage of glass")
    expect(cards(here)).to_have_count(2)
    first = here.box.start()
    assert first.source_task == source
    assert control_of(here.box, first) == ("canny", 1, 0.25, True)
    here.box.complete(first, video)
    cards(here).first.get_by_role("button", name="Again with another seed").click()
    expect(cards(here)).to_have_count(3)
    second = here.box.claim()
    assert (second.source_task, second.request.loras) == (source, first.request.loras)
    assert second.request.seed != first.request.seed


def test_a_part_of_a_video_with_a_control_video_is_made_anew_without_its_lora(visit, video):
    here = open_with_control(visit)
    choose_control(here, video)
    here.page.get_by_label("ink", exact=True).check()
    here.ask()
    expect(cards(here)).to_have_count(1)
    here.box.complete(here.box.start(), video)
    here.page.wait_for_function("() => document.querySelector('.card video')?.videoWidth")
    cards(here).get_by_role("button", name="Redo a part").click()
    here.page.get_by_role("button", name="Redo this part").click()
    expect(cards(here)).to_have_count(2)
    task = here.box.claim()
    assert [each.name for each in task.request.loras] == ["ink"]
    assert inputs_of(here.box, task).source is not None


def test_after_a_reload_the_settings_of_a_control_video_wait_for_its_file(visit, video):
    here = open_with_control(visit)
    page = here.page
    choose_control(here, video)
    page.get_by_label("LoRA", exact=True).select_option("depth")
    page.get_by_label("Scale of the LoRA").fill("0.5")
    page.get_by_label("Strength of the control video").fill("0.25")
    here.ask()
    here.box.tasks.cancel(here.task_id())
    page.reload()
    cards(here).get_by_role("button", name="Try again").click()
    expect(page.locator("#control").get_by_role("alert")).to_have_text(
        "Choose the file again: the browser did not keep them."
    )
    choose_control(here, video)
    here.ask()
    expect(cards(here)).to_have_count(2)
    assert control_of(here.box, here.box.claim()) == ("depth", 0.5, 0.25, False)


def test_the_estimate_counts_the_control_video(visit, video):
    here = open_with_control(visit)
    page, estimated = here.page, here.page.locator("#estimated")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    choose_control(here, video)
    told = re.compile("192.+128, 1.0 s of video: 25 frames if it has 25 a second.")
    sent = []
    for name in ("canny", "depth"):
        page.get_by_label("LoRA", exact=True).select_option(name)
        expect(estimated).to_have_text("")
        with page.expect_request("**/estimate") as request:
            page.get_by_role("button", name="Estimate").click()
        expect(estimated).to_contain_text(told)
        expect(estimated).to_contain_text("GB of GPU memory")
        sent.append(request.value.post_data_json)
    assert [each["loras"][0]["name"] for each in sent] == ["canny", "depth"]
    assert {(each["use"], each["width"], each["num_frames"]) for each in sent} == {("control", 192, 25)}
    assert not any(here.box.tasks.counts().values())


def test_a_control_video_that_is_refused_is_told_at_its_field(visit, video):
    here = open_with_control(visit)
    page, alert = here.page, here.page.locator("#control").get_by_role("alert")
    noise: FilePayload = {"name": "noise.mp4", "mimeType": "video/mp4", "buffer": b"noise" * 99}
    page.locator("#control-file").set_input_files(noise)
    expect(page.locator("#control-name")).to_have_text("noise.mp4: chosen, though this browser cannot play it")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_role("button", name="Estimate").click()
    expect(alert).to_contain_text("The browser cannot read how large and how long this video is.")
    here.ask()
    expect(alert).to_contain_text("Must be an MP4, MOV, MKV or WebM file")
    expect(page.get_by_role("button", name="Remove control video")).to_be_focused()
    page.get_by_role("button", name="Remove control video").click()
    finish_one(here, video)
    cards(here).get_by_role("button", name="Use as control video").click()
    here.box.client.delete(f"/v1/video/tasks/{here.task_id()}")
    here.ask()
    expect(alert).to_contain_text("source_task: the video was deleted")
    cards(here).get_by_role("button", name="Use as control video").click()
    page.get_by_role("button", name="Estimate").click()
    expect(alert).to_contain_text("The browser cannot read how large and how long this video is.")
    # Chromium's own messages about the responses
    here.problems[:] = [each for each in here.problems if not re.search("410|422", each)]


def test_without_ic_loras_the_page_offers_no_control_video(visit, video):
    here = visit(generator={"loras": {"ink": IC_LORAS["ink"]}})
    finish_one(here, video)
    expect(cards(here).get_by_role("button", name="Extend")).to_be_visible()
    expect(here.page.locator("#loras")).to_be_visible()
    expect(here.page.locator("#control")).to_be_hidden()
    expect(cards(here).get_by_role("button", name="Use as control video")).to_be_hidden()


def test_the_inputs_of_a_control_video_have_names_for_a_screen_reader_and_are_reached_by_keyboard(visit, video):
    here = open_with_control(visit)
    choose_control(here, video)
    reached = []
    here.page.get_by_role("button", name="Remove control video").focus()
    for _ in range(20):
        here.page.keyboard.press("Tab")
        name = here.page.evaluate("document.activeElement.name")
        if name == "lora":
            break
        reached.append(name)
    assert [each for each in reached if each] == ["loras[0].name", "preprocessor", "loras[0].scale", "control_strength"]
    check_names(here.page)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_copied_curl_command_sends_the_control_video(visit, video, tmp_path):
    here = open_with_control(visit, {**DESKTOP, "permissions": ["clipboard-read", "clipboard-write"]})
    choose_control(here, video)
    here.ask()
    first = here.box.claim()
    cards(here).get_by_role("button", name="Copy as curl").click()
    expect(here.page.locator("#announcer")).to_have_text("The command is copied")
    (tmp_path / "video.mp4").write_bytes(video)
    command = here.page.evaluate("navigator.clipboard.readText()")
    subprocess.run(["bash", "-c", command], check=True, capture_output=True, timeout=30, cwd=tmp_path)
    second = here.box.claim()
    assert (second.request, control_of(here.box, second)) == (first.request, control_of(here.box, first))
