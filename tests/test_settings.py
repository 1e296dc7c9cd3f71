"""The settings: the environment has priority, and an invalid one stops the start with its name and what is allowed."""

import pickle
import re
from pathlib import Path

import pytest

from deployments.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    import os

    for name in [name for name in os.environ if name.upper().startswith("LTX2_")]:
        monkeypatch.delenv(name)


def settings(**args: object) -> Settings:
    """Settings as Ray fills them from `args:`."""
    return Settings.model_validate(args)


def test_defaults_are_those_that_others_rely_on():
    assert settings().model == "auto"
    assert settings().device == "auto"
    assert settings().database_url == "sqlite:///data/ltx2.db"
    assert settings().outputs.url == "file:data/outputs"
    assert settings().public_base_url is None
    assert settings().encoder.max_bytes == 16_000_000


def test_args_fill_them():
    filled = settings(model="tiny", limits={"max_inference_steps": 50}, encoder={"max_bytes": None})
    assert (filled.model, filled.limits.max_inference_steps, filled.encoder.max_bytes) == ("tiny", 50, None)


def test_the_environment_wins_over_args(monkeypatch):
    monkeypatch.setenv("LTX2_MODEL", "owner/model")
    monkeypatch.setenv("LTX2_TRUSTED_PROXY", "true")
    filled = settings(model="tiny", trusted_proxy=False)
    assert (filled.model, filled.trusted_proxy) == ("owner/model", True)


def test_a_nested_variable_changes_that_one_alone(monkeypatch):
    monkeypatch.setenv("LTX2_LIMITS__MAX_INFERENCE_STEPS", "60")
    filled = settings(limits={"max_inference_steps": 50, "max_side_px": 1024})
    assert (filled.limits.max_inference_steps, filled.limits.max_side_px, filled.limits.max_frames) == (60, 1024, 481)


def test_variables_are_read_in_any_case(monkeypatch):
    monkeypatch.setenv("ltx2_model", "tiny")
    assert settings().model == "tiny"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("LTX2_MODLE", "LTX2_MODEL"),
        ("LTX2_LIMITS_MAX_STEPS", "LTX2_LIMITS__MAX_INFERENCE_STEPS"),
        ("LTX2_LIMITS__MAX_STEP", "LTX2_LIMITS__MAX_INFERENCE_STEPS"),
        ("LTX2_OUTPUT__URL", "LTX2_OUTPUTS__URL"),
    ],
)
def test_a_mistyped_variable_is_refused_with_the_one_that_was_meant(monkeypatch, wrong, meant):
    monkeypatch.setenv(wrong, "1")
    with pytest.raises(SettingsError) as refused:
        settings()
    assert wrong in str(refused.value)
    assert meant in str(refused.value)


def test_other_variables_are_nobodys_business(monkeypatch):
    monkeypatch.setenv("LTX_MODEL", "x")
    assert settings().model == "auto"


SERVICE_LINKS = {
    "LTX2_SERVE_SVC_SERVICE_HOST": "10.96.0.7",
    "LTX2_SERVE_SVC_SERVICE_PORT": "8004",
    "LTX2_SERVE_SVC_SERVICE_PORT_SERVE": "8004",
    "LTX2_SERVE_SVC_PORT": "tcp://10.96.0.7:8004",
    "LTX2_SERVE_SVC_PORT_8004_TCP": "tcp://10.96.0.7:8004",
    "LTX2_SERVE_SVC_PORT_8004_TCP_PROTO": "tcp",
    "LTX2_SERVE_SVC_PORT_8004_TCP_PORT": "8004",
    "LTX2_SERVE_SVC_PORT_8004_TCP_ADDR": "10.96.0.7",
}
"""The variables that the kubelet sets in a container that starts while the service ltx2-serve-svc exists."""


@pytest.fixture
def _service_links(monkeypatch):
    for name, value in SERVICE_LINKS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_service_links")
def test_what_kubernetes_says_of_its_services_is_not_taken_for_settings():
    """For the three ways in which settings are created: by Ray, in replicas, and on the command line."""
    filled = settings(model="tiny")
    assert filled == pickle.loads(pickle.dumps(filled)).with_secrets()
    assert filled == Settings(model="tiny")


@pytest.mark.usefixtures("_service_links")
@pytest.mark.parametrize("wrong", ["LTX2_PORT", "LTX2_SERVICE_PORT", "LTX2_SERVE_SVC", "LTX2_SERVE_SVC_HOST"])
def test_a_mistyped_variable_is_refused_beside_those_of_services(monkeypatch, wrong):
    monkeypatch.setenv(wrong, "8004")
    with pytest.raises(SettingsError, match=f"the environment variable {wrong} is not a setting"):
        settings()


@pytest.mark.usefixtures("_service_links")
def test_serve_builds_an_app_beside_variables_of_services(monkeypatch):
    from ray import serve
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

    application = serve.deployment(type("Nothing", (), {})).bind()
    received = []

    def build(given: Settings) -> serve.Application:
        received.append(given)
        return application

    assert call_user_app_builder_with_args_if_necessary(build, {"model": "tiny"}) is application
    assert received == [settings(model="tiny")]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"modle": "x"}, ["setting modle", "no such setting", "model, device, database_url"]),
        ({"limits": {"max_step": 5}}, ["setting limits.max_step", "no such setting", "max_inference_steps"]),
        ({"device": "gpu"}, ["setting device", "'auto', 'cpu' or 'cuda'", "'gpu' was given"]),
        (
            {"limits": {"max_inference_steps": 1}},
            ["setting limits.max_inference_steps", "greater than or equal to 2", "1 was given"],
        ),
        (
            {"limits": {"max_inference_steps": "many"}},
            ["setting limits.max_inference_steps", "integer", "'many' was given"],
        ),
        ({"limits": 5}, ["setting limits"]),
        ({"model": ""}, ["setting model"]),
        ({"outputs": {"url": "s4://x"}}, ["setting outputs.url", "'s4://x' was given"]),
        ({"outputs": {"url": "s3://"}}, ["setting outputs.url", "'s3://' was given"]),
        ({"outputs": {"url": "s3://key:secret@bucket"}}, ["setting outputs.url", "'s3://***@bucket' was given"]),
        ({"outputs": {"s3": {"region_name": "x"}}}, ["setting outputs.s3.region_name", "endpoint_url, region"]),
        ({"public_base_url": "example"}, ["setting public_base_url", "'example' was given"]),
        ({"device": "gpu", "model": ""}, ["setting device", "setting model"]),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(args, said):
    with pytest.raises(SettingsError) as refused:
        settings(**args)
    for words in said:
        assert words in str(refused.value)


@pytest.mark.parametrize("url", ["mysql://app:hunter2@db/x", "postgres://app:hunter2@db/x"])
def test_a_password_in_a_refused_url_is_not_shown(url, monkeypatch):
    with pytest.raises(SettingsError) as refused:
        settings(database_url=url)
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("LTX2_DATABASE_URL", url)
    with pytest.raises(SettingsError) as refused:
        settings()
    assert "hunter2" not in str(refused.value)


def test_located_settings_have_absolute_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    located = settings().with_absolute_paths()
    assert located.database_url == f"sqlite:///{tmp_path}/data/ltx2.db"
    assert located.outputs.url == f"file:{tmp_path}/data/outputs"
    assert located.cache_dir == tmp_path / "data" / "cache"
    assert located.with_absolute_paths() == located


def test_a_folder_of_a_latent_upsampler_is_absolute_and_a_repository_stays(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "upsampler").mkdir()
    for named, meant in (("upsampler", f"{tmp_path}/upsampler"), ("owner/name", "owner/name"), ("auto", "auto")):
        located = settings(generator={"latent_upsampler": named}).with_absolute_paths()
        assert located.generator.latent_upsampler == meant


def test_a_home_folder_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    located = settings(database_url="sqlite:///~/x.db", cache_dir="~/cache").with_absolute_paths()
    assert (located.database_url, located.cache_dir) == (f"sqlite:///{tmp_path}/x.db", Path(tmp_path / "cache"))


def test_a_postgresql_url_stays_as_it_is():
    url = "postgresql+psycopg://app@db/ltx2"
    assert settings(database_url=url).with_absolute_paths().database_url == url


def test_a_bucket_stays_where_it_is():
    located = settings(outputs={"url": "s3://videos/of/ours", "s3": {"addressing_style": "path"}}).with_absolute_paths()
    assert (located.outputs.url, located.outputs.s3.addressing_style) == ("s3://videos/of/ours", "path")


def test_a_bucket_and_its_server_come_from_the_environment_too(monkeypatch):
    monkeypatch.setenv("LTX2_OUTPUTS__URL", "s3://videos")
    monkeypatch.setenv("LTX2_OUTPUTS__S3__ENDPOINT_URL", "https://s3.example.org")
    assert settings().outputs.url == "s3://videos"
    assert settings().outputs.s3.endpoint_url == "https://s3.example.org"


def test_settings_travel_to_the_replicas_as_they_are(monkeypatch):
    filled = settings(limits={"max_inference_steps": 50})
    monkeypatch.setenv("LTX2_LIMITS__MAX_INFERENCE_STEPS", "60")
    assert pickle.loads(pickle.dumps(filled)) == filled


def test_every_setting_has_a_description():
    context = [Settings]
    while context:
        for name, field in context.pop().model_fields.items():
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                context.append(field.annotation)
            else:
                assert field.description, name


def test_several_dispatchers_want_postgresql():
    with pytest.raises(SettingsError, match=r"dispatcher.replicas must be 1 with SQLite"):
        Settings(dispatcher={"replicas": 2})
    assert Settings(dispatcher={"replicas": 2}, database_url="postgresql+psycopg://box/ltx2").dispatcher.replicas == 2


def test_speedups_are_a_word_or_a_list_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTX2_GENERATOR__OPTIMIZATIONS", "off")
    assert Settings().generator.optimizations == "off"
    monkeypatch.setenv("LTX2_GENERATOR__OPTIMIZATIONS", '["drop_noop_mask", "stg_prefix_reuse"]')
    assert Settings().generator.optimizations == ("drop_noop_mask", "stg_prefix_reuse")
    monkeypatch.setenv("LTX2_GENERATOR__OPTIMIZATIONS", '["magic"]')
    with pytest.raises(SettingsError, match="optimizations"):
        Settings()


HASH = "0" * 64


def test_api_keys_come_from_one_variable_as_json(monkeypatch):
    monkeypatch.setenv("LTX2_API_KEYS", f'[{{"name": "alice", "sha256": "{HASH}", "max_running": 2, "weight": 3}}]')
    (key,) = Settings().api_keys
    assert (key.name, key.sha256, key.max_queued, key.max_running, key.weight) == ("alice", HASH, None, 2, 3.0)
    monkeypatch.setenv("LTX2_API_KEYS", "alice")
    with pytest.raises(SettingsError, match=r"api_keys.*JSON"):
        Settings()


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([{"name": "alice"}], "api_keys.0.sha256"),
        ([{"name": "a b", "sha256": HASH}], "api_keys.0.name"),
        ([{"name": "alice", "sha256": HASH, "weight": 0}], "api_keys.0.weight"),
        (
            [{"name": "alice", "sha256": HASH, "key": "x"}],
            "the settings are name, sha256, max_queued, max_running, weight",
        ),
        ([{"name": "alice", "sha256": HASH}, {"name": "bob", "sha256": HASH}], "same sha256 twice"),
        ([{"name": "a", "sha256": HASH}, {"name": "a", "sha256": "1" * 64, "weight": 2}], "those of a differ"),
    ],
)
def test_a_wrong_record_of_a_key_is_named(records, said):
    with pytest.raises(SettingsError, match=re.escape(said)):
        Settings(api_keys=records)


def test_a_key_that_was_taken_for_its_hash_is_not_shown():
    with pytest.raises(SettingsError) as refused:
        Settings(api_keys=[{"name": "alice", "sha256": "ltx2_hunter2"}])
    assert "hunter2" not in str(refused.value)


OTHER_SECRET = "whsec_" + "c3VuIHJpc2VzIG92ZXIgdGhlIG9jZWFu"
SECRET = "whsec_" + "bGlnaHRob3VzZXMgc2hpbmUgYXQgbmlnaHQ="


@pytest.mark.parametrize("secret", ["short", "whsec_dG9vIHNob3J0", "whsec_not base64!", "", f"{SECRET} whsec_x"])
def test_a_secret_that_is_none_is_refused_and_not_repeated(monkeypatch, secret):
    monkeypatch.setenv("LTX2_WEBHOOKS__SECRET", secret)
    with pytest.raises(SettingsError, match=r"webhooks\.secret: .*whsec_ and base64") as refusal:
        settings()
    assert not secret or secret not in str(refusal.value)


def test_a_secret_is_neither_shown_nor_pickled_and_comes_back_from_the_environment(monkeypatch):
    monkeypatch.setenv("LTX2_WEBHOOKS__SECRET", SECRET)
    filled = settings()
    bound = pickle.dumps(filled.without_secrets())
    assert SECRET not in repr(filled) + str(filled) + filled.model_dump_json()
    assert SECRET.encode() not in bound
    assert pickle.loads(bound).with_secrets() == filled


def test_a_secret_of_the_file_is_refused_with_where_it_belongs():
    filled = settings(webhooks={"secret": SECRET})
    with pytest.raises(SettingsError, match="LTX2_WEBHOOKS__SECRET"):
        filled.without_secrets()


def test_a_password_of_the_database_that_is_written_into_the_config_is_refused(monkeypatch):
    """Serve writes the config into its log."""
    url = "postgresql+psycopg://app:hunter@db/ltx2"
    with pytest.raises(SettingsError, match="LTX2_DATABASE_URL") as refused:
        Settings(database_url=url).without_secrets()
    assert "hunter" not in str(refused.value)
    monkeypatch.setenv("LTX2_DATABASE_URL", url)
    Settings(database_url="sqlite:///x.db").without_secrets()
    for without in ("postgresql+psycopg://app@db/ltx2", "postgresql://app:@/ltx2?host=/run/pg"):
        monkeypatch.delenv("LTX2_DATABASE_URL", raising=False)
        assert Settings(database_url=without).without_secrets().database_url == without


def test_each_owner_of_a_key_has_webhook_secrets_of_its_own():
    webhooks = settings(webhooks={"secret": f"{SECRET} {OTHER_SECRET}"}).webhooks
    assert webhooks.secrets_of("") == [SECRET, OTHER_SECRET]
    assert settings().webhooks.secrets_of("alice") == []
    derived = [*webhooks.secrets_of("alice"), *webhooks.secrets_of("bob")]
    assert len({*derived, SECRET, OTHER_SECRET}) == 6
    assert webhooks.secrets_of("alice") == derived[:2], "the same each time"
    settings(webhooks={"secret": " ".join(derived)})  # Standard Webhooks would accept each of these


@pytest.mark.parametrize("url", ["postgresql+psycopg://app:hunter@db/ltx2", "postgresql://app@db/ltx2?password=hunter"])
def test_a_password_of_the_database_is_neither_shown_nor_pickled_and_comes_back_from_the_environment(monkeypatch, url):
    monkeypatch.setenv("LTX2_DATABASE_URL", url)
    filled = settings()
    bound = pickle.dumps(filled.without_secrets())
    assert "hunter" not in repr(filled) + str(filled)
    assert b"hunter" not in bound
    assert pickle.loads(bound).with_secrets() == filled
    monkeypatch.delenv("LTX2_DATABASE_URL")
    assert pickle.loads(bound).with_secrets() == pickle.loads(bound), "nothing to read is no error here"
    with pytest.raises(SettingsError, match="LTX2_DATABASE_URL"):
        settings(database_url=url).without_secrets()


def test_a_variable_that_names_another_database_is_not_taken_for_the_password(monkeypatch):
    filled = settings(database_url="postgresql://app@db/ltx2")
    monkeypatch.setenv("LTX2_DATABASE_URL", "postgresql://app:hunter@elsewhere/ltx2")
    assert filled.with_secrets() == filled


def test_loras_have_absolute_paths_and_come_from_the_environment_too(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "upsampler").mkdir()
    monkeypatch.setenv("LTX2_GENERATOR__LORAS", '{"ink": {"path": "ink.safetensors", "trigger": "ink drawing"}}')
    monkeypatch.setenv("LTX2_GENERATOR__LATENT_UPSAMPLER", "upsampler")
    loras = Settings().with_absolute_paths().generator.loras
    assert loras["ink"].path == tmp_path / "ink.safetensors"
    assert (loras["ink"].trigger, loras["ink"].max_scale) == ("ink drawing", 2.0)


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"ink": {}}, "either path or repository must be set"),
        ({"ink": {"path": "a", "repository": "someone/ink"}}, "either path or repository must be set"),
        ({"ink": {"path": "a", "scale": 1}}, "the settings are path, repository, file, trigger, max_scale"),
        ({"ink": {"repository": "ink"}}, "generator.loras.ink.repository"),
        ({"ink": {"path": "a", "file": "ink.pt"}}, "generator.loras.ink.file"),
        ({"ink": {"path": "a", "max_scale": 0}}, "generator.loras.ink.max_scale"),
        ({"in k": {"path": "a"}}, "should match pattern"),
        ({"ink:1": {"path": "a"}}, "should match pattern"),
    ],
)
def test_a_wrong_lora_is_named_with_what_is_allowed(lora, said):
    with pytest.raises(SettingsError, match=re.escape(said)):
        settings(generator={"loras": lora})
