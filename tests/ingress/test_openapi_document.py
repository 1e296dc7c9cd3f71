"""/openapi.json can be imported by Dify, LibreChat, Open WebUI and openapi-generator: rules over the whole document."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

MAX_NAME_CHARS = 40
WORDS = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
VERBS = {
    "create",
    "delete",
    "download",
    "enhance",
    "estimate",
    "follow",
    "get",
    "list",
    "make",
    "remix",
    "resend",
    "submit",
}


@pytest.fixture
def document(box) -> dict[str, Any]:
    return box.client.get("/openapi.json").json()


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for methods in document["paths"].values() for each in methods.values()]


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for operation in operations(document):
        if "requestBody" in operation:
            yield operation["operationId"], operation["requestBody"]["content"]


def schemas_in(value: object) -> Iterator[dict[str, Any]]:
    """Every object of the document, with what is inside it."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from schemas_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from schemas_in(each)


def test_the_document_names_the_address_at_which_it_was_read(box, open_box):
    assert box.client.get("/openapi.json").json()["servers"] == [{"url": "http://192.168.1.26:8004"}]
    public = open_box(public_base_url="https://video.example.com/ltx")
    assert public.client.get("/openapi.json").json()["servers"] == [{"url": "https://video.example.com/ltx"}]


def test_each_operation_has_a_short_name_of_its_own_that_begins_with_a_verb(document):
    names = [operation["operationId"] for operation in operations(document)]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert [name for name in names if len(name) > MAX_NAME_CHARS or not WORDS.fullmatch(name)] == []
    assert [name for name in names if name.partition("_")[0] not in VERBS] == []


def test_json_is_the_last_content_type_of_each_body(document):
    """Dify reads the parameters of the last one, and can send a file in none."""
    last = {name: list(content)[-1] for name, content in bodies(document)}
    assert last
    assert set(last.values()) == {"application/json"}


def test_json_can_say_all_that_the_form_can(document):
    for name, content in bodies(document):
        form = content.get("multipart/form-data", {"schema": {"properties": {}}})
        properties = content["application/json"]["schema"]["properties"]
        assert form["schema"]["properties"].keys() <= properties.keys(), name


def test_each_schema_has_a_title_of_its_own(document):
    schemas = document["components"]["schemas"]
    titles = [schema["title"] for schema in schemas.values() if "title" in schema]
    assert [title for title, count in Counter(titles).items() if count > 1] == []
    assert all(schema.get("title", name) == name for name, schema in schemas.items())
    assert [name for name, content in bodies(document) for each in content.values() if "title" in each["schema"]] == []


def test_each_reference_leads_somewhere(document):
    for schema in schemas_in(document):
        if isinstance(reference := schema.get("$ref"), str):
            start, kind, name = reference.removeprefix("#/").split("/")
            assert name in document[start][kind]


def test_each_operation_says_what_it_does(document):
    assert [each["operationId"] for each in operations(document) if not each.get("summary")] == []
    summaries = Counter(each["summary"] for each in operations(document))
    assert [summary for summary, count in summaries.items() if count > 1] == []
