"""`ltx2`: its output, its exit status, and that Ctrl-C leaves no task running."""

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ltx2_client.cli_args import options, parser
from ltx2_client.operations import Options, form_of
from ltx2_client.progress import activity, time_left
from ltx2_client.responses import Task, from_json
from models.request.places import Place
from storage.inputs import unpack_inputs
from storage.tasks import State
from tests.client.server import MODEL, VIDEO
from tests.ingress.conftest import image_file

PROMPT = "A paper boat drifts across a bowl."
FEW_STEPS = ("--num-inference-steps", "2")
PATIENCE_S = 30


@pytest.fixture
def start(server, tmp_path):
    """A function that starts `ltx2` with the arguments in its own process."""
    started = []

    def start_it(*arguments, **options):
        program = [sys.executable, "-m", "ltx2_client", *arguments]
        environment = {**os.environ, "LTX_SERVER": server.url, "PYTHONPATH": str(Path.cwd()), "COLUMNS": "40"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        started.append(subprocess.Popen(program, cwd=tmp_path, env=environment, text=True, **pipes))
        return started[-1]

    yield start_it
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def ltx2(start):
    """A function that runs `ltx2` to its end. Returns exit status, stdout, stderr."""

    def run(*arguments):
        process = start(*arguments)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    return run


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
    return found


def rows(server):
    return [server.tasks.get(task_id) for task_id in server.seen]


def task(**fields):
    required = {
        "task_id": "a",
        "status": "processing",
        "state": "processing",
        "num_inference_steps": 40,
        "progress": 0.1,
    }
    return from_json(Task, {**required, "created_at": 1.0, "model": MODEL, **fields})


def test_an_image_and_a_prompt_become_the_file_that_was_named(ltx2, server, tmp_path):
    (tmp_path / "photo.png").write_bytes(image_file())
    status, out, err = ltx2("generate", PROMPT, "--image", "photo.png", "-o", "out.mp4", "--seed", "random", *FEW_STEPS)
    assert (status, out) == (0, "out.mp4\n"), err
    assert (tmp_path / "out.mp4").read_bytes() == VIDEO
    (row,) = rows(server)
    assert row.input_key is not None
    assert f"task {row.id}, seed {row.request.seed}" in err


def test_a_last_image_and_keyframes_are_sent_to_their_frames(ltx2, server, tmp_path):
    for name in ("a", "b", "c", "d@home"):
        (tmp_path / f"{name}.png").write_bytes(image_file())
    keyframes = ("--keyframe", "c.png", "1.5s@0.5", "--keyframe", "d@home.png", "12")
    ends = ("--image", "a.png", "--end-image", "b.png", "--end-image-strength", "0.25")
    status, _, err = ltx2("generate", PROMPT, *ends, *keyframes, "-o", "out.mp4", "--num-frames", "49", *FEW_STEPS)
    assert status == 0, err
    (row,) = rows(server)
    images = unpack_inputs(b"".join(server.outputs.open(row.input_key))).images
    assert [each.place for each in images] == [Place(0, 1.0), Place(48, 0.25), Place(38, 0.5), Place(12, 1.0)]


def test_a_strength_that_is_no_number_is_refused_before_anything_is_sent(ltx2, server, tmp_path):
    (tmp_path / "a.png").write_bytes(image_file())
    status, _, err = ltx2("generate", PROMPT, "--keyframe", "a.png", "1.5s@half")
    assert (status, server.seen) == (2, [])
    assert "'half' is not a strength" in " ".join(err.split())


def test_a_terminal_shows_stage_and_steps(start, server):
    server.may_finish.clear()
    terminal, its_end = pty.openpty()
    process = start("generate", PROMPT, "--num-inference-steps", "100", stderr=its_end)
    os.close(its_end)
    shown = ""
    while not re.search(r"denoising \d+/100", shown):
        shown += os.read(terminal, 4096).decode(errors="replace")
    server.may_finish.set()
    with contextlib.suppress(OSError):  # a terminal reports in this way that its other end is closed
        while os.read(terminal, 4096):
            pass
    os.close(terminal)
    assert process.wait(PATIENCE_S) == 0


def test_ctrl_c_cancels_the_task(start, server):
    server.may_finish.clear()
    process = start("generate", PROMPT, *FEW_STEPS)
    (row,) = until(lambda: [row for row in rows(server) if row.state == State.PROCESSING])
    until(lambda: server.line.polls)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert f"task {row.id}: canceled" in err
    assert server.tasks.get(row.id).state == State.CANCELED


def test_ctrl_c_before_the_submit_is_answered_leaves_no_task_behind(start, server):
    server.may_finish.clear()
    server.line.lose_answers = 1000
    process = start("generate", PROMPT, *FEW_STEPS)
    until(server.rows)
    server.line.lose_answers = 0
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert [row.state for row in server.tasks.page(frozenset(State), 100, None)] == [State.CANCELED]


def test_ctrl_c_with_a_server_that_is_away_ends_soon_and_says_so(start, server):
    server.may_finish.clear()
    process = start("generate", PROMPT, *FEW_STEPS)
    until(lambda: server.line.polls)
    server.stop()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "no answer from" in err


def test_an_error_names_the_field_what_it_held_and_what_it_may_hold(ltx2):
    status, out, err = ltx2("generate", PROMPT, "--width", "100")
    assert (status, out) == (1, "")
    lines = [line.split(maxsplit=1) for line in err.splitlines()]
    assert ["field", "width"] in lines
    assert ["given", "100"] in lines
    assert any(line[0] == "allowed" and "64" in line[1] for line in lines)


def test_an_image_that_is_not_there_is_told_without_a_traceback(ltx2, server):
    status, _, err = ltx2("generate", PROMPT, "--image", "nowhere.png")
    assert status == 2
    assert "nowhere.png" in err
    assert "Traceback" not in err
    assert server.rows() == 0


def test_tasks_are_listed_newest_first_and_by_state(ltx2, client, server):
    done = client.wait(client.submit(PROMPT, num_inference_steps=2).task_id).task_id
    server.may_finish.clear()
    running = client.submit(PROMPT).task_id
    _, out, _ = ltx2("tasks")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [(row[0], row[2], row[4]) for row in rows] == [(running, "processing", MODEL), (done, "completed", MODEL)]
    _, out, _ = ltx2("tasks", "--state", "completed")
    assert re.findall(r"[0-9a-f]{32}", out) == [done]


def test_a_narrow_terminal_cuts_no_id(start, client):
    task_id = client.submit(PROMPT).task_id
    terminal, its_end = pty.openpty()
    process = start("tasks", stdout=its_end)
    os.close(its_end)
    assert process.wait(PATIENCE_S) == 0
    shown = os.read(terminal, 4096).decode()
    os.close(terminal)
    assert task_id in shown
    assert "created" in shown


def test_cancel_says_what_became_of_the_task(ltx2, client, server):
    server.may_finish.clear()
    task_id = client.submit(PROMPT).task_id
    assert ltx2("cancel", task_id)[:2] == (0, f"{task_id}: canceled\n")
    status, _, err = ltx2("cancel", "nothing")
    assert status == 1
    assert "no task" in err


def test_a_server_that_cannot_cancel_is_told_so(ltx2, server):
    server.line.refuses.add("DELETE")
    status, _, err = ltx2("cancel", "0" * 32)
    assert (status, err) == (1, "error: this server cannot cancel tasks\n")


def test_health_tells_model_and_queue(ltx2, server):
    status, out, _ = ltx2("health")
    assert status == 0
    assert f"model: {MODEL}, unloaded" in out
    server.stop()
    status, _, err = ltx2("health", "--server", server.url)
    assert status == 1
    assert f"no answer from {server.url}" in err


def test_a_poll_in_words():
    assert activity(task(state="queued", queue_position=3)) == "queued, number 3"
    assert activity(task(state="queued", queue_position=3, paused=True)) == "queued, the server is paused"
    assert activity(task(stage="denoising", step=5)) == "denoising 5/40"
    assert activity(task(stage="refining", step=1)) == "refining 1/3"
    assert activity(task(stage="upscaling", step=40)) == "upscaling"
    assert activity(task(stage="downloading", bytes_done=1.5e9, bytes_total=68e9)) == "downloading 1.5 of 68.0 GB"
    assert activity(task(stage="encoding", step=40)) == "encoding"
    assert activity(task(status="failed", state="canceled")) == "canceled"
    assert [time_left(task(eta_s=seconds)) for seconds in (None, 12.3, 80)] == [
        "",
        "about 12 s left",
        "about 1 min 20 s left",
    ]


def test_a_video_and_its_thumbnail_are_saved_by_the_id(ltx2, tmp_path):
    assert ltx2("generate", PROMPT, "-o", "boat.mp4", *FEW_STEPS)[0] == 0
    (row,) = ltx2("tasks")[1].splitlines()
    task_id = row.split("\t")[0]
    assert ltx2("download", task_id)[:2] == (0, f"ltx2_{task_id}.mp4\n")
    assert (tmp_path / f"ltx2_{task_id}.mp4").read_bytes() == VIDEO
    assert ltx2("download", task_id, "--file", "thumbnail", "-o", "small.jpg")[:2] == (0, "small.jpg\n")
    assert (tmp_path / "small.jpg").read_bytes().startswith(b"\xff\xd8")
    assert ltx2("download", "0" * 32)[0] == 1
    assert ltx2("download", task_id, "--file", "subtitles")[0] == 2


def test_audio_is_left_out_on_request_alone():
    given = [
        options(parser().parse_args(["generate", PROMPT, *flags]), Options) for flags in ([], ["--no-generate-audio"])
    ]
    assert given == [{}, {"generate_audio": False}]


def test_loras_are_names_with_or_without_a_scale():
    flags = ["--lora", "ink:0.5", "--lora", "dolly_in", "--camera-motion", "jib_up"]
    given = options(parser().parse_args(["generate", PROMPT, *flags]), Options)
    loras = [{"name": "ink", "scale": 0.5}, {"name": "dolly_in", "scale": 1.0}]
    assert given == {"loras": loras, "camera_motion": "jib_up"}
    assert form_of(given)["loras"] == json.dumps(loras)
    for wrong in (":1", "ink:much", "ink:nan"):
        with pytest.raises(SystemExit):
            parser().parse_args(["generate", PROMPT, "--lora", wrong])


def test_the_commands_of_the_readme_are_understood():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    commands = re.findall(r"^ltx2 [^;\n]+|(?<=; )ltx2 [^;\n]+", readme, re.MULTILINE)
    understood = {parser().parse_args(shlex.split(command)[1:]).command for command in commands}
    assert understood == {"generate", "tasks", "cancel", "health"}
