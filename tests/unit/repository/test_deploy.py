"""The files of deploy/: they can be applied, are locked down, and their times fit the image's."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubernetes_validate import utils as kubernetes

from docker_flask.plan.settings import Settings
from docker_flask.shared import secret_files
from tests.support import plans
from tests.support.kustomize import KUBERNETES, Resource, overlay, rendered

ROOT = Path(__file__).parents[3]
OVERLAYS = ["one-replica", "many-replicas", "with-jobs"]
# The newest three.
VERSIONS = list(dict.fromkeys(kubernetes.all_versions()))[-3:]
read_once = functools.cache(kubernetes.schema_contents)
# Seconds that the kernel and the kubelet get to end a container.
MARGIN = 5


def pods(resources: list[Resource]) -> Iterator[tuple[str, Resource]]:
    """The name and the template of each kind of pod."""
    for resource in resources:
        if "template" in resource.get("spec", {}):
            yield resource["metadata"]["name"], resource["spec"]["template"]


def the(resources: list[Resource], kind: str, name: str = "flaskapp") -> Resource:
    (found,) = (r for r in resources if r["kind"] == kind and r["metadata"]["name"] == name)
    return found


def data_of(resources: list[Resource], container: Resource) -> dict[str, str]:
    """The variables of a container's ConfigMap."""
    (name,) = (each["configMapRef"]["name"] for each in container["envFrom"])
    return the(resources, "ConfigMap", name)["data"]


# --- they can be applied ---------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the published schemas, which allow no other fields."""
    monkeypatch.setattr(kubernetes, "schema_contents", read_once)
    resources: list[Resource] = []
    for name in OVERLAYS:
        resources += [resource for resource in overlay(name) if resource not in resources]
    for resource in resources:
        kubernetes.validate(resource, version, strict=True)
    misspelt = {**resource, "spec": {**resource["spec"], "replica": 1}}
    with pytest.raises(kubernetes.ValidationError, match="replica"):
        kubernetes.validate(misspelt, version, strict=True)


def test_kubernetes_knows_the_volume_with_a_certificate() -> None:
    """That of docs/https.md."""
    (line,) = re.findall("`(secret: {.*?})`", (ROOT / "docs/https.md").read_text())
    pod = {"containers": [{"name": "a"}], "volumes": [{"name": "certs", **yaml.safe_load(line)}]}
    resource = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}
    kubernetes.validate(resource, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_named_exists(name: str) -> None:
    resources = overlay(name)
    web = the(resources, "Deployment")["spec"]["template"]
    names = {(resource["kind"], resource["metadata"]["name"]) for resource in resources}
    ports = {port["name"] for port in web["spec"]["containers"][0]["ports"]}
    service = the(resources, "Service")["spec"]
    assert service["selector"].items() <= web["metadata"]["labels"].items()
    assert {port["targetPort"] for port in service["ports"]} == {"http"} <= ports
    backend = the(resources, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]
    assert backend == {"service": {"name": "flaskapp", "port": {"name": "http"}}}
    policy = the(resources, "NetworkPolicy")["spec"]
    assert policy["ingress"][0]["ports"] == [{"port": "http"}]
    for pod_name, template in pods(resources):
        pod, labels = template["spec"], template["metadata"]["labels"]
        container = pod["containers"][0]
        assert container["image"] == "registry.example.com/flaskapp:1"
        assert ("ConfigMap", container["envFrom"][0]["configMapRef"]["name"]) in names
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        claim = volumes["data"].get("persistentVolumeClaim")
        assert not claim or ("PersistentVolumeClaim", claim["claimName"]) in names
        if pod_name != "flaskapp":  # no requests for commands, but the rules of the network
            assert not service["selector"].items() <= labels.items()
            assert policy["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("name", OVERLAYS)
def test_secrets_are_files(name: str) -> None:
    """No pod has a Secret in its variables, and each NAME_FILE is in a Secret's folder."""
    resources = overlay(name)
    for _, template in pods(resources):
        (container,) = template["spec"]["containers"]
        assert not [each for each in container["envFrom"] if "secretRef" in each]
        variables = data_of(resources, container)
        files = [value for name, value in variables.items() if name.endswith("_FILE")]
        (volume,) = (each for each in template["spec"]["volumes"] if "secret" in each)
        (mount,) = (each for each in container["volumeMounts"] if each["name"] == volume["name"])
        assert files
        assert {os.path.dirname(file) for file in files} == {mount["mountPath"]}
        assert all(file.startswith(secret_files.FOLDERS) for file in files)


def test_a_route_of_the_gateway_leads_to_the_service(tmp_path: Path) -> None:
    folder = os.path.relpath(KUBERNETES, tmp_path)
    tmp_path.joinpath("kustomization.yaml").write_text(
        f"resources: [{folder}/base]\ncomponents: [{folder}/components/gateway]\n"
    )
    resources = rendered(tmp_path)
    (rule,) = the(resources, "HTTPRoute")["spec"]["rules"]
    (port,) = the(resources, "Service")["spec"]["ports"]
    assert rule["backendRefs"] == [{"name": "flaskapp", "port": port["port"]}]
    (cleared,) = rule["filters"]
    believed = [f"X-Forwarded-{name}" for name in ("Host", "Port", "Prefix")]
    assert cleared["requestHeaderModifier"] == {"remove": believed}


@pytest.mark.parametrize("name", ["many-replicas", "with-jobs"])
def test_a_pod_may_always_leave(name: str) -> None:
    resources = overlay(name)
    deployment = the(resources, "Deployment")["spec"]
    scaler = the(resources, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "flaskapp"
    assert "replicas" not in deployment  # each `kubectl apply` would undo the autoscaler
    budget = the(resources, "PodDisruptionBudget")["spec"]
    assert 0 < budget["maxUnavailable"] < scaler["minReplicas"]
    assert budget["selector"] == deployment["selector"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_one_at_a_time_where_two_would_be_wrong() -> None:
    for name, deployment in (("one-replica", "flaskapp"), ("with-jobs", "flaskapp-scheduler")):
        spec = the(overlay(name), "Deployment", deployment)["spec"]
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


# --- their times fit -------------------------------------------------------------------------


def settings(resources: list[Resource], container: Resource) -> Settings:
    """Those of a container."""
    own = {variable["name"]: variable["value"] for variable in container.get("env", [])}
    return plans.make(**{**data_of(resources, container), **own}).settings


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_is_killed_while_it_stops(name: str) -> None:
    """The sum that docs/deploying.md explains."""
    for _, template in pods(overlay(name)):
        pod = template["spec"]
        container = pod["containers"][0]
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
        grace = settings(overlay(name), container).graceful_timeout
        assert pod["terminationGracePeriodSeconds"] == sleep["seconds"] + grace + MARGIN


def test_probes_leave_time_to_start_and_a_stop_waits_for_requests() -> None:
    deployment = the(overlay("many-replicas"), "Deployment")["spec"]
    container = deployment["template"]["spec"]["containers"][0]
    chosen = settings(overlay("many-replicas"), container)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": chosen.listen_port, "status": chosen.status_port}
    asked = {}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == "status"
        asked[probe] = container[probe]["httpGet"]["path"]
    assert list(asked.values()) == ["/ready", "/ready", "/healthy"]
    startup = container["startupProbe"]
    seconds = startup["periodSeconds"] * startup["failureThreshold"]
    assert chosen.start_timeout < seconds < deployment["progressDeadlineSeconds"]
    assert chosen.graceful_timeout >= chosen.drain_delay + chosen.request_timeout


# --- Pod Security "restricted" ---------------------------------------------------------------

CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_all_pods_are_restricted(name: str) -> None:
    for _, template in pods(overlay(name)):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert not [field for field in pod if field.startswith("host")]
        context = pod["securityContext"]
        assert set(context) <= {"runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile"} | {
            "fsGroup",
            "fsGroupChangePolicy",
        }
        assert context["runAsNonRoot"]
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(set(volume) <= {"name"} | VOLUMES for volume in pod["volumes"])
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == CONTAINER
            assert not any("hostPort" in port for port in container.get("ports", []))
            assert container["resources"]["limits"]["memory"]


# --- Compose, Swarm, Kamal -------------------------------------------------------------------


def file_text(name: str) -> str:
    return (ROOT / "deploy" / name).read_text()


def file(name: str) -> Resource:
    return yaml.safe_load(file_text(name))


def test_compose_is_locked_down_and_kills_nothing_while_it_stops() -> None:
    found = file("compose/compose.yaml")
    chosen = plans.make(**found["services"]["web"]["environment"]).settings
    for name, service in found["services"].items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"mem_limit", "pids_limit"} <= service.keys()
        assert service["logging"]["options"]["max-size"]
        assert service["restart"] == ("no" if name == "migration" else "unless-stopped")
        published = {port for port in service.get("ports", []) if "127.0.0.1:" not in port}
        assert bool(published) == (name == "proxy")
        assert service["stop_grace_period"] == f"{chosen.graceful_timeout + MARGIN:g}s"
    assert found["networks"]["data"]["internal"] is True
    assert chosen.graceful_timeout > chosen.drain_delay + chosen.request_timeout
    assert f"grace_period {chosen.graceful_timeout:g}s" in file_text("compose/Caddyfile")


def test_a_stack_replaces_tasks_without_a_gap() -> None:
    web = file("swarm.yaml")["services"]["web"]
    chosen = plans.make(**web["environment"]).settings
    assert chosen.listen_port == web["ports"][0]["target"]
    assert web["stop_grace_period"] == f"{chosen.graceful_timeout + MARGIN:g}s"
    assert chosen.graceful_timeout > chosen.drain_delay + chosen.request_timeout
    update = web["deploy"]["update_config"]
    assert (update["order"], update["failure_action"]) == ("start-first", "rollback")
    assert (web["user"], web["read_only"], web["cap_drop"]) == ("33:33", True, ["ALL"])


def test_haproxy_fits_the_stack() -> None:
    """It sees the 503 before the container refuses connections, and waits longer than nginx."""
    text = file_text("haproxy.cfg")
    web = file("swarm.yaml")["services"]["web"]
    chosen = plans.make(**web["environment"]).settings
    assert f"httpchk GET {chosen.health_path}\n" in text
    assert f" node1:{web['ports'][0]['published']}\n" in text
    (check,) = re.findall(r"inter (\d+)ms fastinter (\d+)ms fall (\d+) ", text)
    inter, fast, fall = map(int, check)
    assert (inter + (fall - 1) * fast) / 1000 < chosen.drain_delay
    (server,) = re.findall(r"timeout server (\d+)s", text)
    assert int(server) > chosen.request_timeout
    for header in ("x-forwarded- -m beg", "x-real-ip", "forwarded"):
        assert f"http-request del-header {header}\n" in text, "a client could name its address"


def test_kamal_asks_the_health_path_and_waits_for_the_stop() -> None:
    kamal = file("kamal/deploy.yml")
    chosen = plans.make(**kamal["env"]["clear"]).settings
    assert kamal["proxy"]["healthcheck"]["path"] == chosen.health_path
    assert kamal["proxy"]["app_port"] == chosen.listen_port
    assert kamal["proxy"]["response_timeout"] > chosen.request_timeout
    assert kamal["drain_timeout"] > chosen.request_timeout
    assert kamal["deploy_timeout"] > chosen.start_timeout
    assert kamal["stop_timeout"] > chosen.graceful_timeout
