import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from deployments.cli.admin import _parser
from deployments.settings import Settings
from deployments.settings.docs import write_page
from tests.product import PACKAGES, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BASE_URL = "http://localhost:8004"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| `([^`]+)` \|", re.MULTILINE)
TARGET = re.compile(r"(?:^|`)(?:\w+=\S+ )*make ([a-z][a-z-]*)", re.MULTILINE)
MODULE = re.compile(r"`([a-z0-9_]+(?:/[a-z0-9_]+)*\.(?:py|js))`")
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
MAX_README_LINES = 150
MAX_LINE_CHARS = 120
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


def api_commands(base_url: str = BASE_URL) -> list[str]:
    """The README's commands against a running server, in order. They share one shell: join them."""
    return [body.replace(BASE_URL, base_url) for language, body in FENCE.findall(README) if language == "bash"]


def settings_table() -> dict[str, Any]:
    """The README's settings and the defaults that it shows."""
    table = README.split("## Settings")[1].split("## ")[0]
    return {name: yaml.safe_load(default) for name, default in ROW.findall(table)}


def default_of(name: str) -> object:
    value: object = Settings.model_construct()
    for part in name.split("."):
        assert isinstance(value, BaseModel)
        assert part in type(value).model_fields, f"there is no setting {name}"
        value = type(value).model_fields[part].get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def named_targets() -> Iterator[tuple[str, str]]:
    for document in (*DOCUMENTS, ".ci/run"):
        for target in TARGET.findall((ROOT / document).read_text(encoding="utf-8")):
            yield document, target


def test_readme_names_the_two_commands() -> None:
    (commands,) = [body for language, body in FENCE.findall(README) if language == "sh"]
    assert [line.split("#")[0].strip() for line in commands.splitlines()] == ["make run", "make test"]


def test_readme_commands_are_one_shell_script() -> None:
    """Checks only the syntax; the end-to-end test runs them."""
    script = "\n".join(api_commands())
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for route in ("/health", "/v1/video/async_t2v", "/v1/video/tasks/", "/v1/video/async_i2v"):
        assert f"{BASE_URL}{route}" in script


def test_readme_commands_can_go_to_another_port() -> None:
    script = "\n".join(api_commands("http://localhost:9999"))
    assert "8004" not in script
    assert "http://localhost:9999/health" in script


@pytest.mark.parametrize("name", settings_table())
def test_every_setting_in_the_table_exists_with_the_default_shown(name: str) -> None:
    assert settings_table()[name] == default_of(name)


def test_the_table_has_settings() -> None:
    assert {"model", "device", "database_url", "outputs.url", "public_base_url"} <= set(settings_table())


def test_every_command_of_the_operator_has_its_line() -> None:
    named = re.search(r"{([a-z,-]+)}", _parser().format_usage())
    assert named is not None
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    lines = [rf"`(python -m deployments\.cli\.admin )?{command}\b" for command in named[1].split(",")]
    assert [line for line in lines if not re.search(line, page)] == []


def test_the_page_of_all_settings_is_that_of_the_code() -> None:
    """`make fix` writes the page again."""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == write_page()


@pytest.mark.parametrize(
    "row",
    [
        "| `limits.max_inference_steps` | `100` | steps | whole number from 2 | Most denoising steps. |",
        "| `device` | `auto` |  | `auto`, `cpu`, `cuda` | auto: use",
        "| `generator.sleep_after_idle_s` | `auto` | seconds | number from 0, `auto`, `null` | Time",
        "| `generator.fast_guidance_fraction` | `0.5` |  | number above 0 to 1 | Part",
        "| `outputs.s3.region` | `null` |  | text, `null` | AWS region",
        "| `webhooks.secret` | `null` |  | secret, `null` | Secret",
        "| `api_keys[].sha256` | required |  | text | SHA-256",
        "| `api_keys[].weight` | `1` |  | number from 0.01 to 100 | Share",
    ],
)
def test_the_page_of_all_settings_has_default_unit_and_bounds(row: str) -> None:
    assert f"\n{row}" in write_page()


def test_every_make_target_that_a_document_names_exists() -> None:
    there = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    missing = [(where, target) for where, target in named_targets() if target not in there]
    assert missing == []


def test_every_module_that_the_documents_name_exists() -> None:
    pages = (*ROOT.glob("docs/architecture/*.md"), ROOT / "docs/glossary.md", ROOT / "CONTRIBUTING.md")
    named = {name for page in pages for name in MODULE.findall(page.read_text(encoding="utf-8"))}
    folders = (*PACKAGES, "benchmarks", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.[pj]*")]
    there = [f"/{path.relative_to(ROOT).as_posix()}" for path in files]
    assert len(named) > 50
    assert sorted(name for name in named if not any(path.endswith(f"/{name}") for path in there)) == []


def anchors_of(page: Path) -> set[str]:
    """What a link may name behind `#`: the headings of a page, as GitHub turns them into anchors."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_heading_that_a_document_links_to_exists(document: str) -> None:
    source = ROOT / document
    missing = []
    for link, anchor in LINK.findall(source.read_text(encoding="utf-8")):
        target = source.parent / link if link else source
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            missing.append(f"{link}#{anchor}" if anchor else link)
    assert missing == []


def test_the_readme_is_short_and_fits_a_screen() -> None:
    lines = README.splitlines()
    assert len(lines) <= MAX_README_LINES
    assert [line for line in lines if len(line) > MAX_LINE_CHARS and not line.startswith("|")] == []


def test_the_index_of_the_documents_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / link).resolve() for link, _ in LINK.findall(index) if link}
    pages = [page for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")) if page.name != "README.md"]
    assert [page.name for page in pages if page.resolve() not in linked] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_line_of_prose_is_longer_than_120_characters(document: str) -> None:
    """Outside tables, code and lines with a URL."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|") and "://" not in line]
    assert long == []
