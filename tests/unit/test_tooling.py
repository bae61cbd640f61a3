"""The container files and the import rules, as far as they can be checked without containers."""

import json
import re
import subprocess
import sys

import pytest

from tests.processes import ROOT, compose_command, compose_file, interpolate

OUT_OF_REACH = ("torch", "torchvision", "safetensors", "numpy", "PIL", "sklearn", "unlearning", "worker")


@pytest.mark.parametrize("module", ["app.main", "core.db.migrate", "core.dispatch"])
def test_importing_the_front_door_loads_no_torch(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {OUT_OF_REACH!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_doorbell_process_of_a_worker_loads_no_torch() -> None:
    script = "import sys, worker.celery_app; print('torch' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        env={"EXPUNGE_REDIS_URL": "redis://127.0.0.1:1/0"},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("service", ["api", "worker"])
def test_an_image_started_alone_runs_the_command_of_its_service(service: str) -> None:
    stage = (ROOT / "Dockerfile").read_text().split(f" AS {service}\n")[1].split("\nFROM ")[0]
    command = re.search(r"^CMD (\[.*?\])$", stage.replace("\\\n", ""), flags=re.MULTILINE)

    assert command is not None
    assert json.loads(command[1]) == compose_command(service, {})


def test_every_service_of_ours_runs_one_of_our_images_without_rights() -> None:
    services = compose_file()["services"]

    for name in ("migrate", "dispatcher", "api", "worker"):
        assert services[name]["build"]["target"] in {"api", "worker"}
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["read_only"] is True


def test_only_the_api_is_published_and_only_on_loopback_by_default() -> None:
    published = {name: service["ports"] for name, service in compose_file()["services"].items() if "ports" in service}

    assert list(published) == ["api"]
    assert [interpolate(port, {}) for port in published["api"]] == ["127.0.0.1:8080:8080"]


def test_gpu_workers_get_a_device_each() -> None:
    services = compose_file(ROOT / "docker-compose.gpu.yml")["services"].values()
    devices = [device for service in services for device in service["deploy"]["resources"]["reservations"]["devices"]]

    assert [device["device_ids"] for device in devices] == [["0"], ["1"], ["2"], ["3"]]
    assert all(service["deploy"]["replicas"] == 1 for service in services)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${PORT}", "81"),
        ("x:${PORT:-80}", "x:81"),
        ("${HOST:-0.0.0.0}:${PORT:-80}", "0.0.0.0:81"),
        ("${HOST}", ""),
        ("${PORT:?set it}", "81"),
        ("$${PORT}", "${PORT}"),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, expected: str) -> None:
    assert interpolate(text, {"PORT": "81"}) == expected


def test_a_required_variable_that_is_missing_is_named() -> None:
    with pytest.raises(KeyError, match=r"HOST: set it in \.env"):
        interpolate("${HOST:?set it in .env}", {})
