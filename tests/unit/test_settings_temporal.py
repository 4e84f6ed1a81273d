"""The connection: Temporal's own configuration, secrets, and what `Client.connect` is given."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.service import TLSConfig

from client.settings import (
    Loaded,
    TemporalSettings,
    connect_config,
    load_settings,
    resolve_secret,
    resolve_secrets,
    without_password,
)
from client.settings.temporal import DevServerSettings, TlsSettings
from domain.channels import WebhookChannel
from domain.errors import DomainError, ErrorKind
from domain.model_chain import ModelSpec

PROFILES = """
[profile.default]
address = "default:1"
namespace = "from-default"
[profile.cloud]
address = "cloud:2"
namespace = "from-cloud"
api_key = "cloud-key"
[profile.cloud.grpc_meta]
x-team = "blue"
[profile.cloud.tls]
disabled = false
server_name = "cloud.example"
server_ca_cert_path = "/ca.pem"
client_cert_data = "CERT"
client_key_path = "key.pem"
"""


def _load(folder: Path, text: str, environ: Mapping[str, str]) -> Loaded:
    path = folder / "temporal-dev.yaml"
    path.write_text(text)
    return load_settings(path, environ)


def test_temporals_variables_go_before_the_file_and_ours_before_them(tmp_path: Path) -> None:
    text = "temporal: {address: file:1, namespace: file, api_key: file}"
    loaded = _load(
        tmp_path,
        text,
        {
            "TEMPORAL_ADDRESS": "variable:1",
            "TEMPORAL_NAMESPACE": "variable",
            "TICKLESS_TEMPORAL__NAMESPACE": "ours",
            "TEMPORAL_API_KEY": "",
        },
    )
    found = loaded.settings.temporal
    assert (found.target, found.namespace, found.api_key) == (
        "variable:1",
        "ours",
        SecretStr("file"),
    )
    assert loaded.origins["temporal.address"] == "env TEMPORAL_ADDRESS"
    assert loaded.origins["temporal.namespace"] == "env TICKLESS_TEMPORAL__NAMESPACE"
    assert loaded.origins["temporal.api_key"].startswith("file ")


def test_a_profile_that_the_environment_names_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "temporal.toml").write_text(PROFILES)
    loaded = _load(
        tmp_path,
        "temporal: {address: file:1}",
        {
            "TEMPORAL_CONFIG_FILE": str(tmp_path / "temporal.toml"),
            "TEMPORAL_PROFILE": "cloud",
            "TEMPORAL_NAMESPACE": "variable",
        },
    )
    found = loaded.settings.temporal
    assert (found.target, found.namespace) == ("cloud:2", "variable")
    assert found.api_key == SecretStr("cloud-key")
    assert found.grpc_meta == {"x-team": SecretStr("blue")}
    assert found.tls == TlsSettings(
        enabled=True,
        server_name="cloud.example",
        server_ca_cert=SecretStr("file:/ca.pem"),
        client_cert=SecretStr("CERT"),
        client_key=SecretStr(f"file:{Path('key.pem').absolute()}"),
    )
    assert found.ui_url == ""
    assert loaded.origins["temporal.address"] == "profile cloud of Temporal"
    assert loaded.origins["temporal.namespace"] == "env TEMPORAL_NAMESPACE"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"TEMPORAL_PROFILE": "none", "TEMPORAL_CONFIG_FILE": "{}/temporal.toml"}, "'none'"),
        ({"TEMPORAL_CONFIG_FILE": "{}/broken.toml"}, "at line 2"),
        ({"TEMPORAL_API_KEY": "sk-\udcff"}, "surrogates"),
    ],
)
def test_a_wrong_configuration_of_temporal(
    tmp_path: Path, environ: dict[str, str], words: str
) -> None:
    (tmp_path / "temporal.toml").write_text(PROFILES)
    (tmp_path / "broken.toml").write_text('[profile.default]\napi_key = "sk-secret" x')
    environ = {name: value.format(tmp_path) for name, value in environ.items()}
    with pytest.raises(DomainError) as caught:
        _load(tmp_path, "", environ)
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_FIELD, "temporal")
    assert words in caught.value.message
    assert "sk-" not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_bad_address_of_temporals_variable(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match=r"host:port.*\(TEMPORAL_ADDRESS\)"):
        _load(tmp_path, "", {"TEMPORAL_ADDRESS": "http://x"})


@pytest.mark.parametrize(
    ("dev", "target", "ui_url"),
    [
        (DevServerSettings(), "127.0.0.1:7233", "http://127.0.0.1:8233"),
        (DevServerSettings(ip="0.0.0.0", ui_port=None), "127.0.0.1:7233", ""),
        (DevServerSettings(ip="::", port=1), "[::1]:1", "http://[::1]:8233"),
        (DevServerSettings(ip="10.0.0.1", ui_port=0), "10.0.0.1:7233", ""),
    ],
)
def test_without_an_address_the_dev_server_is_meant(
    dev: DevServerSettings, target: str, ui_url: str
) -> None:
    settings = TemporalSettings(dev=dev)
    assert (settings.target, settings.ui_url) == (target, ui_url)


def test_with_an_address_no_ui_is_guessed() -> None:
    assert TemporalSettings(address="a:1").ui_url == ""
    assert TemporalSettings(address="a:1", ui_url="https://ui").ui_url == "https://ui"


def test_a_connection_without_anything() -> None:
    assert connect_config(TemporalSettings(), {}) == {
        "target_host": "127.0.0.1:7233",
        "namespace": "default",
    }


def test_a_connection_with_everything(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("KEY\n")
    settings = TemporalSettings(
        address="a:1",
        namespace="n",
        api_key=SecretStr("env:KEY"),
        grpc_meta={"x-team": SecretStr("env:TEAM")},
        tls=TlsSettings(
            server_name="s",
            server_ca_cert=SecretStr("CA"),
            client_cert=SecretStr("CERT"),
            client_key=SecretStr(f"file:{tmp_path}/key.pem"),
        ),
    )
    assert connect_config(settings, {"KEY": "k", "TEAM": "blue"}) == {
        "target_host": "a:1",
        "namespace": "n",
        "api_key": "k",
        "rpc_metadata": {"x-team": "blue"},
        "tls": TLSConfig(
            domain="s",
            server_root_ca_cert=b"CA",
            client_cert=b"CERT",
            client_private_key=b"KEY",
        ),
    }


@pytest.mark.parametrize(("enabled", "tls"), [(False, False), (True, TLSConfig())])
def test_tls_by_hand(enabled: bool, tls: object) -> None:
    settings = TemporalSettings(tls=TlsSettings(enabled=enabled))
    assert connect_config(settings, {}).get("tls") == tls


def test_a_key_alone_means_tls() -> None:
    assert connect_config(TemporalSettings(api_key=SecretStr("k")), {}).get("tls") is True


def test_a_connection_names_the_secret_it_lacks() -> None:
    with pytest.raises(DomainError, match=r"temporal\.api_key refers to .*'KEY'"):
        connect_config(TemporalSettings(api_key=SecretStr("env:KEY")), {})


def test_secrets_are_literals_or_references(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("two\nlines\r\n")
    environ = {"NAME": "from the variable"}
    for text, secret in {
        "literal": "literal",
        "with:colon": "with:colon",
        "environment": "environment",
        "env:NAME": "from the variable",
        f"file:{tmp_path}/secret": "two\nlines",
    }.items():
        assert resolve_secret(SecretStr(text), environ, "x") == secret


@pytest.mark.parametrize(
    ("reference", "kind", "words"),
    [
        (
            "env:MISSING",
            ErrorKind.MISSING_FIELD,
            "environment variable 'MISSING', which is not set",
        ),
        ("env:BLANK", ErrorKind.MISSING_FIELD, "not set or empty"),
        ("env:", ErrorKind.MISSING_FIELD, "not set"),
        ("file:{}/missing", ErrorKind.INVALID_FIELD, "cannot be read: No such file or directory"),
        ("file:{}", ErrorKind.INVALID_FIELD, "cannot be read: Is a directory"),
        ("file:{}/binary", ErrorKind.INVALID_FIELD, "not UTF-8 text"),
        ("file:{}/empty", ErrorKind.MISSING_FIELD, "which is empty"),
        ("file:relative", ErrorKind.INVALID_FIELD, "absolute path"),
        ("file:{}/a/../empty", ErrorKind.INVALID_FIELD, "without `..`"),
    ],
)
def test_a_reference_that_leads_nowhere(
    tmp_path: Path, reference: str, kind: ErrorKind, words: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(DomainError) as caught:
        resolve_secret(SecretStr(reference.format(tmp_path)), {"BLANK": ""}, "models.0.api_key")
    assert (caught.value.kind, caught.value.field) == (kind, "models.0.api_key")
    assert words in caught.value.message
    assert "models.0.api_key" in caught.value.message


def test_the_secrets_of_a_model_are_resolved_in_a_copy() -> None:
    channel = WebhookChannel(url="http://x", secret=SecretStr("env:HOOK"))
    resolved = resolve_secrets(channel, {"HOOK": "whsec_x"}, "channels.ops")
    assert resolved.secret == SecretStr("whsec_x")
    assert resolved.url == channel.url
    assert channel.secret == SecretStr("env:HOOK")
    model = ModelSpec(name="a")
    assert resolve_secrets(model, {}, "models.0") == model
    with pytest.raises(DomainError, match=r"channels\.ops\.secret"):
        resolve_secrets(channel, {}, "channels.ops")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:**********@h/d"),
        ("postgresql://u:p@ss/w:rd@h/d", "postgresql://u:**********@h/d"),
        (
            "postgresql://h/d?user=u&password=p&x=1",
            "postgresql://h/d?user=u&password=**********&x=1",
        ),
        ("postgresql://u@h:1/d", "postgresql://u@h:1/d"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("env:URL", "env:URL"),
    ],
)
def test_the_password_of_an_address_is_masked(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_nothing_that_is_shown_holds_a_secret(tmp_path: Path) -> None:
    loaded = _load(
        tmp_path,
        "store: {url: 'postgresql://u:sk-1@h/d'}\n"
        "models: [{name: a, api_key: sk-2, base_url: 'http://u:sk-3@h'}]\n"
        "channels: {ops: {type: webhook, url: 'http://u:sk-4@h', secret: sk-5}}\n"
        "temporal: {api_key: sk-6, grpc_meta: {authorization: sk-7}, tls: {client_key: sk-8}}\n",
        {},
    )
    shown = f"{loaded.values()}{loaded.flat()}{loaded.origins}"
    assert "sk-" not in shown
    assert loaded.flat()["models.0.api_key"] == "**********"
    assert loaded.flat()["store.url"] == "postgresql://u:**********@h/d"
    for secret in (1, 2, 5, 6, 7, 8):
        assert f"sk-{secret}" not in repr(loaded.settings)
