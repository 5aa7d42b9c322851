"""The files in deploy/: their form, and that each role would start with what they give it. Nothing here runs them.

The manifests are checked against the schemas of Kubernetes, the compose file against the specification's.
"""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import jsonschema
import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from pki import Authority

from outrider import config
from outrider.supervisor import shape

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
VERSION = "1.31"
SHARED = {"OUTRIDER_DATABASE_URL", "OUTRIDER_NATS_URL"}
NATS = "nats://outrider:x@nats:4222"
Tree = dict[str, Any]


def documents() -> list[Tree]:
    return [cast(Tree, one) for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())]


def compose() -> Tree:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def workloads() -> dict[str, Tree]:
    """Role to the pod's spec."""
    kinds = ("Deployment", "StatefulSet")
    found = [one for one in documents() if one["kind"] in kinds]
    return {one["metadata"]["labels"]["role"]: one["spec"]["template"]["spec"] for one in found}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_keep_the_schemas_of_kubernetes(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_the_schema_check_finds_a_mistake() -> None:
    (broken,) = [one for one in documents() if one["kind"] == "Deployment" and "harness" in one["metadata"]["name"]]
    broken["spec"]["template"]["spec"]["containers"][0]["portz"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_the_compose_file_keeps_the_schema_of_its_specification() -> None:
    jsonschema.validate(compose(), get_builtin_schema("vendor.compose-spec"))


def test_the_check_of_compose_finds_a_mistake() -> None:
    broken = compose()
    broken["services"]["api"]["portz"] = []
    with pytest.raises(jsonschema.ValidationError, match="portz"):
        jsonschema.validate(broken, get_builtin_schema("vendor.compose-spec"))


def test_every_role_has_a_workload_with_probes_a_budget_and_a_policy() -> None:
    assert set(workloads()) == set(config.ROLES)
    for spec in workloads().values():
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert probe in spec["containers"][0]
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        named = {one["metadata"]["name"] for one in documents() if one["kind"] == kind}
        assert named == {f"outrider-{role}" for role in config.ROLES}


def test_secrets_are_named_and_never_written() -> None:
    assert not [one for one in documents() if one["kind"] == "Secret"]
    for path in DEPLOY.rglob("*.yaml"):
        for name, value in re.findall(r"^ *(\w*(?:KEY|PASSWORD)): *(\S.*)", path.read_text(), re.MULTILINE):
            assert value.startswith("${") or "KeyRef" in value, f"{path.name}: {name}"


def test_only_the_vault_is_given_model_keys_and_only_api_and_harness_the_store() -> None:
    for role, spec in workloads().items():
        names = {one["name"] for one in spec["containers"][0].get("env", [])}
        assert ("OUTRIDER_MODEL_KEY" in names) == (role == "vault")
        assert names.issuperset(SHARED) if role in ("api", "harness") else names.isdisjoint(SHARED)
    for name, service in compose()["services"].items():
        names = set(service.get("environment", {}))
        assert ("OUTRIDER_MODEL_KEY" in names) == (name == "vault")
        assert names.issuperset(SHARED) if name in ("api", "harness") else names.isdisjoint(SHARED)


@pytest.mark.parametrize("kind", ["networks", "volumes", "configs", "secrets"])
def test_compose_defines_all_that_its_services_name_and_no_more(kind: str) -> None:
    whole = compose()
    used: set[str] = set()
    for service in whole["services"].values():
        for one in cast("list[str | dict[str, str]]", service.get(kind, [])):
            used.add((one["source"] if isinstance(one, dict) else one).partition(":")[0])
    assert used == set(whole[kind])


def test_a_sandbox_host_reaches_nobody() -> None:
    services = compose()["services"]
    assert compose()["networks"]["boxes"] == {"internal": True}
    assert services["box-1"]["networks"] == ["boxes"]
    assert [name for name, one in services.items() if "boxes" in one["networks"]] == ["box-1", "harness"]
    (policy,) = [d for d in documents() if d["kind"] == "NetworkPolicy" and d["metadata"]["name"] == "outrider-sandbox"]
    assert policy["spec"]["egress"] == []


def test_kubernetes_starts_without_nats_where_no_secret_names_it() -> None:
    for role in ("api", "harness"):
        (found,) = [one for one in workloads()[role]["containers"][0]["env"] if one["name"] == "OUTRIDER_NATS_URL"]
        assert found["valueFrom"]["secretKeyRef"]["optional"] is True


def starts(place: Path, role: str, toml: str, environment: dict[str, str], name: str) -> None:
    """Whether the settings hold what the role needs, with certificates of our own in place of the operator's."""
    authority = Authority(place / "pki")
    authority.issue(name, role)
    for kind, file in (("cert", f"{name}.pem"), ("key", f"{name}.key"), ("ca", "ca.pem")):
        toml = re.sub(rf'^{kind} = ".*"$', f'{kind} = "{authority.place / file}"', toml, flags=re.MULTILINE)
    (place / "config.toml").write_text(toml)
    given = {"OUTRIDER_CONFIG": str(place / "config.toml"), **environment}
    settings = config.load(given, data=place / "data", roles=role, behind_proxy=True)
    shape.check(settings, given, datetime.now(UTC))


@pytest.mark.parametrize("nats", ["", NATS])
@pytest.mark.parametrize("name", ["vault", "box-1", "harness", "api"])
def test_composes_services_have_what_their_roles_need(name: str, nats: str, tmp_path: Path) -> None:
    whole = compose()
    service = whole["services"][name]
    said = {key: value.replace("${OUTRIDER_NATS_URL:-}", nats) for key, value in service.get("environment", {}).items()}
    environment = {key: re.sub(r"\$\{[^}]*\}", "x", value) for key, value in said.items()}
    assert service["command"][0] == "--role"
    starts(tmp_path, service["command"][1], whole["configs"][name]["content"], environment, name)


@pytest.mark.parametrize(("password", "starts"), [(None, False), ("", False), ("two words", True)])
def test_composes_nats_starts_with_a_password_alone(password: str | None, starts: bool, tmp_path: Path) -> None:
    """Compose asks for a variable whether its service's profile is chosen or not; so the container does."""
    *shell, script = compose()["services"]["nats"]["entrypoint"]
    server = tmp_path / "nats-server"
    server.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    server.chmod(0o755)
    given = {"PATH": f"{tmp_path}:{os.defpath}"} | ({} if password is None else {"NATS_PASSWORD": password})
    ended = subprocess.run([*shell, script.replace("$$", "$")], env=given, capture_output=True, text=True, timeout=20)
    assert (ended.returncode == 0) == starts
    assert ("NATS_PASSWORD: set it" in ended.stderr) != starts
    arguments = ["--jetstream", "--store_dir", "/data", "--user", "outrider", "--pass", password]
    assert ended.stdout.splitlines() == (arguments if starts else [])


@pytest.mark.parametrize("role", ["vault", "sandbox", "harness", "api"])
def test_kubernetes_workloads_have_what_their_roles_need(role: str, tmp_path: Path) -> None:
    container = workloads()[role]["containers"][0]
    given = {one["name"]: one.get("value", "postgres://x") for one in container.get("env", [])}
    given |= {"OUTRIDER_NATS_URL": NATS} if "OUTRIDER_NATS_URL" in given else {}
    if role == "sandbox":
        toml = container["args"][0].split("<<END\n")[1].split("END\n")[0]
        assert "serve --role sandbox" in container["args"][0]
    else:
        (found,) = [d for d in documents() if d["kind"] == "ConfigMap" and d["metadata"]["name"] == f"outrider-{role}"]
        toml = found["data"]["config.toml"]
        assert container["args"][:2] == ["--role", role]
    starts(tmp_path, role, toml, given, "peer")
