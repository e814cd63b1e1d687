"""The examples in ``config/``, the Dockerfile and compose.yaml: that all they name is there and means something."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli import main
from proxy.config import load
from proxy.server.endpoint import HEALTH_PATH

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "config" / "compose.yaml").read_text(encoding="utf-8"))
MINIO_VERSION = re.search(r"^MINIO_VERSION := (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

SECRETS = {
    "root_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "reporting-policy.json": '{"Version": "2012-10-17", "Statement": []}',
}


def stages() -> dict[str, list[list[str]]]:
    """The Dockerfile's instructions by stage, each split into words, continuation lines joined."""
    found: dict[str, list[list[str]]] = {}
    words: list[list[str]] = []
    for line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines():
        if not line or line.startswith("#"):
            continue
        instruction = line.split()
        if instruction[0] == "FROM":
            words = found[instruction[3]] = []
        words.append(instruction)
    return found


def instruction(stage: str, name: str) -> list[str]:
    """The words of the only instruction of its kind in a stage; a JSON list is unpacked."""
    ((_, *words),) = [each for each in stages()[stage] if each[0] == name]
    text = " ".join(words)
    return list(yaml.safe_load(text)) if text.startswith("[") else words


def in_place(folder: Path, example: str) -> Path:
    """A copy of an example whose absolute paths lie under ``folder``, with the secrets and keys that it names."""
    text = (ROOT / "config" / example).read_text(encoding="utf-8")
    for path in re.findall(r'"(/(?:run/secrets|etc/sse-kms-proxy)/[^"]+)"', text):
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SECRETS.get(file.name, "a secret of this file"))
        text = text.replace(f'"{path}"', f'"{file}"')
    (folder / "root.key").write_text(SECRETS["root_key"])
    copy = folder / example
    copy.write_text(text, encoding="utf-8")
    return copy


@pytest.mark.parametrize("example", ["development.toml", "minio.toml", "s3.toml"])
def test_an_example_is_a_configuration(tmp_path: Path, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = in_place(tmp_path, example)
    assert main(["check-config", "--config", str(file)]) == 0, capsys.readouterr().err


def test_every_example_is_tested() -> None:
    assert {file.name for file in (ROOT / "config").glob("*.toml")} == {"development.toml", "minio.toml", "s3.toml"}


@pytest.mark.parametrize("example", ["development.toml", "minio.toml", "s3.toml"])
def test_what_an_example_leaves_as_a_comment_is_a_configuration_too(tmp_path: Path, example: str) -> None:
    """Commented settings look like ``# key = value``; prose does not."""
    file = in_place(tmp_path, example)
    text = file.read_text(encoding="utf-8")
    enabled = re.sub(r'^# ((?:[a-z0-9_]+ = |\[\[).*|  [ {"].*|"""\])$', r"\1", text, flags=re.MULTILINE)
    for path in re.findall(r'"(/(?:run/secrets|etc/sse-kms-proxy)/[^"]+)"', enabled):
        enabled = enabled.replace(f'"{path}"', f'"{tmp_path / "root.key"}"')
    file.write_text(enabled, encoding="utf-8")
    if example == "minio.toml":
        assert enabled != text
    load(file, {})


def test_the_examples_name_only_variables_that_are_read(tmp_path: Path) -> None:
    file = in_place(tmp_path, "minio.toml")
    names = set(re.findall(r"SSE_KMS_PROXY_[A-Z_]+", file.read_text(encoding="utf-8")))
    assert len(names) == 4
    load(file, dict.fromkeys(names, SECRETS["root_key"]))


def test_the_dockerfile_copies_only_what_is_there() -> None:
    for words in (each for stage in stages().values() for each in stage if each[0] == "COPY"):
        if not words[1].startswith("--from="):
            assert all((ROOT / source).exists() for source in words[1:-1]), words
        else:
            assert words[1].removeprefix("--from=") in stages()


def test_the_image_runs_a_command_that_there_is_on_a_file_that_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert instruction("proxy", "ENTRYPOINT") == ["sse-kms-proxy"]
    command = instruction("proxy", "CMD")
    copied = [each[-1] for each in stages()["proxy"] if each[0] == "COPY"]
    assert command[-1] in copied
    # The arguments are understood; only the file is not here.
    assert main([*command[:-1], "/nonexistent.toml"]) == 2
    assert "/nonexistent.toml: cannot be read" in capsys.readouterr().err


def test_neither_image_runs_as_root() -> None:
    for stage in ("proxy", "minio"):
        (user,) = instruction(stage, "USER")
        assert any(each[:2] == ["RUN", "useradd"] and each[-1] == user for each in stages()[stage])


def test_the_health_check_asks_the_health_path_on_the_port_of_the_configuration(tmp_path: Path) -> None:
    health = next(" ".join(each) for each in stages()["proxy"] if each[0] == "HEALTHCHECK")
    port = load(in_place(tmp_path, "minio.toml"), {}).listen.port
    assert f"http://127.0.0.1:{port}{HEALTH_PATH}" in health
    assert instruction("proxy", "EXPOSE") == [str(port)]


def test_minio_is_the_version_that_the_tests_run_on() -> None:
    assert MINIO_VERSION is not None
    built = next(each for each in stages()["minio-build"] if each[0] == "RUN")
    assert f"github.com/minio/minio@{MINIO_VERSION[1]}" in built


def test_compose_builds_stages_that_there_are() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["build"]["target"] == name
        assert name in stages()
        assert (ROOT / "config" / service["build"]["context"]).resolve() == ROOT


def test_compose_hands_over_every_secret_that_the_configuration_reads() -> None:
    text = (ROOT / "config" / "minio.toml").read_text(encoding="utf-8")
    needed = set(re.findall(r'^[a-z_]+ = "/run/secrets/([a-z_]+)"', text, re.MULTILINE))
    proxy = COMPOSE["services"]["proxy"]
    assert needed == set(proxy["secrets"]) <= set(COMPOSE["secrets"])
    assert set(COMPOSE["services"]["minio"]["secrets"]) <= set(COMPOSE["secrets"])
    comments = (ROOT / "config" / "compose.yaml").read_text(encoding="utf-8")
    for name, secret in COMPOSE["secrets"].items():
        made = Path("config") / os.path.normpath(secret["file"])
        assert f"> {made}" in comments, f"{name}: no line says how to make it"


def test_compose_fits_the_configuration(tmp_path: Path) -> None:
    config = load(in_place(tmp_path, "minio.toml"), {})
    minio, proxy = COMPOSE["services"]["minio"], COMPOSE["services"]["proxy"]
    assert config.upstream.url == "http://minio:9000"
    assert f":{config.upstream.url.rpartition(':')[2]}" in instruction("minio", "CMD")
    assert config.upstream.access_key_id == minio["environment"]["MINIO_ROOT_USER"]
    assert proxy["ports"] == [f"127.0.0.1:9000:{config.listen.port}"]
    assert shlex.join(proxy["command"]) == shlex.join(instruction("proxy", "CMD"))
    source, target, _ = proxy["volumes"][0].split(":")
    assert (ROOT / "config" / source).is_file()
    assert target == proxy["command"][-1]
    named = {volume.split(":")[0] for service in (minio, proxy) for volume in service["volumes"]} - {source}
    assert named == set(COMPOSE["volumes"])
    assert config.keys.database.parent == config.state.database.parent == Path(proxy["volumes"][1].split(":")[1])
