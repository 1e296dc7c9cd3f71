"""The Dockerfile and the compose files, read as text: they match the code. No container is built here."""

import base64
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from deployments.cli.preflight import OTHERS
from deployments.settings import ENV_PREFIX, Settings
from tests.e2e.server import ray_environment

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
REQUIRED = re.compile(r"\$\{\w+:\?[^}]*\}")
"""A variable that the operator must set."""


def instructions() -> list[tuple[str, str]]:
    """`[("FROM", "..."), ...]`, with continued lines joined and comments removed."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(words[0], words[1]) for line in joined.splitlines() if (words := line.split(maxsplit=1))]


def last(name: str) -> str:
    return [rest for instruction, rest in instructions() if instruction == name][-1]


def image_environment() -> dict[str, str]:
    pairs = [pair for name, rest in instructions() if name == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def server_environment() -> dict[str, str]:
    """The variables in the compose file, with `secret` where the operator must set a value."""
    values: dict[str, str | None] = SERVICES["server"]["environment"]
    return {name: REQUIRED.sub("secret", value) for name, value in values.items() if value is not None}


def test_the_image_sets_what_ray_env_sets() -> None:
    shown = image_environment()
    assert {name: shown.get(name) for name in ray_environment()} == ray_environment()


def test_the_image_leaves_the_settings_to_the_config_file() -> None:
    """A variable in the image would override the `args` of every operator's config file."""
    assert [name for name in image_environment() if name.startswith(ENV_PREFIX)] == []


def test_the_image_runs_the_ray_that_is_pinned() -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"rayproject/ray:{pinned[1]}-py311" in DOCKERFILE


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    checked = subprocess.run([str(hadolint), str(ROOT / "Dockerfile")], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage by its name, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions():
        if name == "FROM":
            found[rest.split(" AS ")[1]] = []
        elif found:
            found[list(found)[-1]].append((name, rest))
    return found


def test_the_dependencies_are_installed_by_name_and_by_nothing_that_a_release_changes(tmp_path: Path) -> None:
    """Their layer of several GB stays cached: neither our code nor the version in pyproject.toml comes before it."""
    ((_, program),) = [each for each in stages()["requirements"] if each[0] == "RUN"]
    interpreter, *command = shlex.split(program)
    assert interpreter == "python3"
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    subprocess.run([sys.executable, *command], check=True, cwd=tmp_path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    assert (tmp_path / "requirements.txt").read_text().splitlines() == wanted
    copied = [rest for name, rest in stages()["dependencies"] if name == "COPY"]
    assert copied == ["--from=requirements /build/requirements.txt ./", "constraints.txt ./"]


def test_our_code_comes_as_a_layer_after_the_dependencies() -> None:
    """With COPY: builders that cache by the text of an instruction (buildah 1.28) keep a stale RUN with a mount."""
    copied = [rest for name, rest in stages()["server"] if name == "COPY"]
    dependencies, code = "--from=dependencies /opt/ltx2 /opt/ltx2", "--from=code /code/opt/ltx2 /opt/ltx2"
    assert copied.index(dependencies) < copied.index(code)
    assert "from=code" not in " ".join(rest for name, rest in instructions() if name == "RUN")
    assert any("--no-deps --root /code" in rest for name, rest in stages()["code"] if name == "RUN")


def test_no_program_of_the_image_gains_rights_and_no_gpu_is_shown_that_was_not_asked_for() -> None:
    (setup,) = [rest for name, rest in stages()["server"] if name == "RUN" and "useradd" in rest]
    assert "-perm /6000" in setup
    assert "NVIDIA_VISIBLE_DEVICES" not in image_environment()


def test_the_default_image_is_the_one_for_gpus_and_there_is_one_for_cpus() -> None:
    assert list(stages())[-2:] == ["cpu", "gpu"]
    assert image_environment()["LD_LIBRARY_PATH"].startswith("/usr/local/nvidia/lib64"), "where GKE puts the driver"


def test_the_image_says_what_it_is() -> None:
    labels = " ".join(rest for name, rest in stages()["server"] if name == "LABEL")
    named = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels))
    assert named == {"title", "description", "licenses", "version", "revision"}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ("ARG", f"VERSION={version}") in stages()["server"]
    assert ("COPY", "LICENSE serve_config.yaml ./") in stages()["server"]


def test_the_image_is_not_roots() -> None:
    assert last("USER") == "1000:100"


def test_docker_run_in_the_readme_waits_for_a_stop_as_long_as_compose_does() -> None:
    """Docker kills after 10 s by default, but a stop takes longer."""
    (timeout_s,) = re.findall(r"`docker run .*--stop-timeout (\d+) .*ltx2-server`", (ROOT / "README.md").read_text())
    assert f"{timeout_s}s" == SERVICES["server"]["stop_grace_period"]


def folder_commands(root: Path) -> str:
    """The image's commands for its folders before the server's files are copied, below `root` instead of `/`."""
    (setup,) = [rest for name, rest in stages()["server"] if name == "RUN" and "mkdir" in rest]
    programs = ("mkdir", "chown", "chmod")
    commands = [each.strip() for each in setup.split("&&") if each.split()[0] in programs]
    return " && ".join(re.sub(r" /(?=srv|tmp)", f" {root}/", command) for command in commands)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_the_images_data_is_its_users_and_that_of_openshifts_any_user_with_group_0() -> None:
    """Not below `tmp_path`, which only root can enter."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        subprocess.run(["/bin/sh", "-c", f"umask 022; {folder_commands(root)}"], check=True)
        data = root / "srv/ltx2/data"
        assert not data.stat().st_mode & OTHERS, "the start would warn of it"
        for user, group, enters in ((1000, 100, True), (1_000_650_000, 0, True), (1001, 100, False)):
            for each in (data, data / "cache"):
                wrote = _run_as(user, group, f"ls {each} && touch {each}/file && rm {each}/file")
                assert (wrote == 0) == enters, (user, group, each)


def _run_as(user: int, group: int, script: str) -> int:
    command = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "/bin/sh", "-c", script]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


def test_the_image_starts_as_make_run_does_and_takes_the_signal_of_docker_stop() -> None:
    """The launcher drains on SIGTERM, which Docker sends unless the image names another signal."""
    started = " ".join(json.loads(last("CMD")))
    assert f"$(BIN)/{started}" in (ROOT / "Makefile").read_text()
    assert "STOPSIGNAL" not in [name for name, _ in instructions()]


def test_the_build_sees_every_file_that_it_copies_and_no_other_folder() -> None:
    seen = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied <= seen
    assert [name for name in seen if not (ROOT / name).exists()] == []


def test_the_compose_servers_variables_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server_environment().items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.database_url.startswith("postgresql+psycopg://")
    assert settings.outputs.url == f"s3://{SERVICES['bucket']['entrypoint'][2]}"
    assert settings.outputs.s3.endpoint_url == SERVICES["bucket"]["entrypoint"][3]


def test_compose_hands_on_what_an_operator_may_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A null leaves a variable out if the operator has none; an empty text would be rejected as a secret."""
    handed_on = {name for name, value in SERVICES["server"]["environment"].items() if value is None}
    operators = {
        "LTX2_API_KEYS": json.dumps([{"name": "alice", "sha256": "0" * 64}]),
        "LTX2_WEBHOOKS__SECRET": f"whsec_{base64.b64encode(bytes(32)).decode()}",
        "LTX2_PUBLIC_BASE_URL": "https://videos.example",
    }
    assert handed_on == {*operators, "HF_TOKEN"}
    for name, value in operators.items():
        monkeypatch.setenv(name, value)
    settings = Settings().with_secrets()
    assert settings.api_keys[0].name == "alice"
    assert settings.webhooks.secret is not None
    assert str(settings.public_base_url) == "https://videos.example/"


def test_the_bucket_of_compose_is_made_once_and_found_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        command = [sys.executable, str(ROOT / "container/bucket.py"), "videos", f"http://{host}:{port}"]
        for _ in range(2):
            subprocess.run(command, check=True)
        listed = boto3.client("s3", endpoint_url=f"http://{host}:{port}").list_buckets()["Buckets"]
    finally:
        server.stop()
    assert [bucket["Name"] for bucket in listed].count(
        "videos"
    ) == 1  # the server's memory limit is that of the whole test run


def test_the_bucket_waits_for_a_server_that_still_starts_and_not_for_one_that_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    answers = [503, 500, 200]

    class Starting(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.send_response(answers.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Starting)
    threading.Thread(target=server.serve_forever).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        command = [sys.executable, str(ROOT / "container/bucket.py"), "videos", url]
        subprocess.run(command, check=True, timeout=60)
        assert answers == []
        answers.append(403)
        assert subprocess.run(command, check=False, timeout=60, capture_output=True).returncode == 1
        assert answers == []
    finally:
        server.shutdown()
        server.server_close()


def test_what_earlier_starts_of_ray_left_goes_after_a_week(tmp_path: Path) -> None:
    for name, age_days in (("old", 8), ("running", 0)):
        log = tmp_path / f"session_2026-11-01_{name}" / "logs" / "raylet.out"
        log.parent.mkdir(parents=True)
        log.write_text("x")
        then_s = time.time() - age_days * 86_400
        os.utime(log, (then_s, then_s))
    (tmp_path / "session_latest").symlink_to(tmp_path / "session_2026-11-01_running")
    shell, _, folder = SERVICES["prune"]["entrypoint"]
    assert folder == "/tmp/ray"
    subprocess.run([shell, str(ROOT / "container/prune.sh"), str(tmp_path)], check=True)
    assert {each.name for each in tmp_path.iterdir()} == {"session_2026-11-01_running", "session_latest"}


def test_compose_publishes_nothing_to_other_machines_unless_it_is_told_to() -> None:
    published = {port for service in SERVICES.values() for port in service.get("ports", [])}
    assert published == {"${SERVER_ADDRESS:-127.0.0.1}:8004:8004", "127.0.0.1:3000:3000"}


@pytest.mark.parametrize("service", SERVICES)
def test_no_process_of_compose_gains_rights(service: str) -> None:
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]
    if service not in ("postgres", "s3"):  # their volumes belong to root until their first start
        assert SERVICES[service]["cap_drop"] == ["ALL"]


def test_the_s3_server_of_compose_has_the_port_and_the_keys_that_the_server_uses() -> None:
    s3, server = SERVICES["s3"], SERVICES["server"]["environment"]
    port = s3["command"][s3["command"].index("--port") + 1]
    assert server["LTX2_OUTPUTS__S3__ENDPOINT_URL"] == f"http://s3{port}"
    assert s3["environment"]["ROOT_ACCESS_KEY"] == server["AWS_ACCESS_KEY_ID"]
    assert s3["environment"]["ROOT_SECRET_KEY"] == server["AWS_SECRET_ACCESS_KEY"]
    (volume,) = s3["volumes"]
    assert volume.split(":")[1] == s3["command"][-1]


def test_the_compose_server_reaches_every_service_that_it_names() -> None:
    hosts = re.findall(r"(?:@|http://)([a-z0-9]+):\d+", " ".join(server_environment().values()))
    assert set(hosts) <= set(SERVICES)
    assert set(hosts) == {"postgres", "s3"}


def test_compose_names_only_volumes_and_files_that_are_there() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    named = [mount for mount in mounts if not mount.startswith(".")]
    assert set(named) == set(COMPOSE["volumes"])
    assert [mount for mount in mounts if mount.startswith(".") and not (ROOT / mount).exists()] == []


def test_compose_leaves_room_for_rays_object_store() -> None:
    """With Docker's default of 64 MB for /dev/shm, the object store would use the disk."""
    assert SERVICES["server"]["shm_size"].endswith("gb")


def test_prometheus_reads_the_file_that_ray_writes() -> None:
    (job,) = yaml.safe_load((ROOT / "container/prometheus.yaml").read_text())["scrape_configs"]
    (file,) = job["file_sd_configs"][0]["files"]
    assert Path(file).name == PROMETHEUS_SERVICE_DISCOVERY_FILE
    assert Path(file).parent == Path("/tmp/ray")
    assert "ray:/tmp/ray:ro" in SERVICES["prometheus"]["volumes"], "at Ray's own path: the file is an absolute link"
    assert "ray:/tmp/ray" in SERVICES["server"]["volumes"]


def test_prometheus_and_grafana_of_compose_get_the_alerts_and_the_dashboards() -> None:
    prometheus = yaml.safe_load((ROOT / "container/prometheus.yaml").read_text())
    (rules,) = prometheus["rule_files"]
    assert f"./observability/alerts.yaml:{rules}:ro" in SERVICES["prometheus"]["volumes"]
    providers = yaml.safe_load((ROOT / "container/grafana_dashboards.yaml").read_text())["providers"]
    ours, rays = (provider["options"]["path"] for provider in providers)
    assert f"./observability/dashboard.json:{ours}/ltx2.json:ro" in SERVICES["grafana"]["volumes"]
    assert rays.startswith("/tmp/ray/")
    assert "ray:/tmp/ray:ro" in SERVICES["grafana"]["volumes"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_image_of_compose_but_our_own_has_a_tag(service: str) -> None:
    assert "build" in SERVICES[service] or ":" in SERVICES[service]["image"]


def test_the_gpu_file_asks_for_a_gpu_and_names_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    server = yaml.safe_load((ROOT / "compose.gpu.yaml").read_text())["services"]["server"]
    for name, value in server["environment"].items():
        monkeypatch.setenv(name, value)
    assert (Settings().model, Settings().device) == ("Lightricks/LTX-2", "cuda")
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
