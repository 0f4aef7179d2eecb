# No container engine is needed to see that the container files hang together.
from __future__ import annotations

import re

import pytest
import yaml

from rfq_service.settings import read_settings
from tests.support.data import PROJECT_ROOT

DOCKER = PROJECT_ROOT / "docker"


def instructions(text):
    """(instruction, arguments) in order, continuation lines joined, comments dropped."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]


def problems(text):
    """What is wrong with a Dockerfile, by the rules that matter here."""
    steps = instructions(text)
    last_stage = steps[max(i for i, (name, _) in enumerate(steps) if name == "FROM") :]
    found = []
    stages = set()
    arguments = {value.partition("=")[0] for name, value in steps if name == "ARG"}
    for name, value in steps:
        if name == "FROM":
            image, _, stage = value.partition(" AS ")
            variable = re.fullmatch(r"\$\{(\w+)\}", image)
            if not (image in stages or (variable and variable[1] in arguments) or re.search(r":(?!latest)", image)):
                found.append(f"image without a version: {image}")
            stages.add(stage)
        if name == "ADD":
            found.append("ADD instead of COPY")
        if name == "RUN" and "apt-get install" in value:
            wanted = ("apt-get update &&", "--no-install-recommends", "rm -rf /var/lib/apt/lists")
            found += [f"apt-get install without {part}" for part in wanted if part not in value]
        source = re.search(r"--from=(\w+)", value)
        if name == "COPY" and source and source[1] not in stages:
            found.append(f"COPY from an unknown stage {source[1]}")
        if name in {"CMD", "ENTRYPOINT"} and not value.startswith("["):
            found.append(f"{name} through a shell")
    names = [name for name, _ in last_stage]
    users = [value for name, value in last_stage if name == "USER"]
    if not users or users[-1] in {"root", "0"}:
        found.append("runs as root")
    found += [f"no {name}" for name in ("HEALTHCHECK", "CMD") if name not in names]
    return found


def test_dockerfile_is_sound():
    text = (DOCKER / "Dockerfile").read_text()
    assert problems(text) == []
    steps = instructions(text)
    assert steps[0] == ("ARG", "BASE_IMAGE=python:3.11-slim-bookworm")
    assert ("CMD", '["rfq", "serve"]') in steps
    assert any(name == "HEALTHCHECK" and "/health/ready" in value for name, value in steps)


@pytest.mark.parametrize(
    "change,problem",
    [
        (("USER rfq", "USER root"), "runs as root"),
        (("COPY . /src", "ADD . /src"), "ADD instead of COPY"),
        (("--from=build", "--from=bulid"), "COPY from an unknown stage bulid"),
        (('CMD ["rfq", "serve"]', "CMD rfq serve"), "CMD through a shell"),
        (("FROM base AS service", "FROM debian AS service"), "image without a version: debian"),
        (("--no-install-recommends ", ""), "apt-get install without --no-install-recommends"),
    ],
)
def test_the_rules_see_what_is_wrong(change, problem):
    text = (DOCKER / "Dockerfile").read_text()
    assert change[0] in text
    assert problem in problems(text.replace(*change))


def test_what_the_image_copies_is_let_through_and_exists():
    lines = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    let_through = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert {"pyproject.toml", "requirements.lock", "rfq_service", "pricing", "quote_eval", "models"} <= let_through
    missing = [name for name in let_through if not (PROJECT_ROOT / name).exists()]
    assert missing == []


def environment(text):
    return dict(re.findall(r"\b(RFQ_\w+)=(\S+)", text))


def test_settings_of_the_containers_are_settings_of_the_service():
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    names = compose["services"]["service"]["environment"]
    filled = {name: value.replace("${POSTGRES_PASSWORD}", "secret") for name, value in names.items()}
    settings = read_settings({**environment((DOCKER / "Dockerfile").read_text()), **filled})
    assert settings.http.host == "0.0.0.0"
    assert settings.database.url == "postgresql://rfq:secret@postgres:5432/rfq"
    collector = yaml.safe_load((DOCKER / "otel-collector.yaml").read_text())
    port = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert settings.telemetry.otlp_endpoint == f"http://otel-collector:{port}"


def test_compose_hangs_together():
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = compose["services"]
    assert services["postgres"]["image"] == "postgres:18"
    for name, service in services.items():
        assert "build" in service or re.search(r":(?!latest)\S+$", service["image"]), name
        for needed, condition in service.get("depends_on", {}).items():
            wants_health = condition["condition"] == "service_healthy"
            assert not wants_health or "healthcheck" in services[needed], needed
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DOCKER / source).is_file(), source
    build = services["service"]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).is_file()
    assert all(port.startswith("127.0.0.1:") for port in services["service"]["ports"])


def test_collector_pipelines_use_what_is_defined():
    collector = yaml.safe_load((DOCKER / "otel-collector.yaml").read_text())
    pipelines = collector["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics"}
    for pipeline in pipelines.values():
        for part, names in pipeline.items():
            assert set(names) <= set(collector[part])
