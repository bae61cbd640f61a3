"""The life of a request over real HTTP, for the end-to-end tests."""

from functools import partial
from typing import Any

import httpx

from cli.demo.digits import LABELS, MEAN, SIDE, STD
from cli.demo.training import ARCHITECTURE
from tests.throwaway import wait_until

FINAL = {"published", "rejected", "failed", "cancelled", "denied"}


class Client:
    """What a data-governance system does: registers, asks, polls, downloads."""

    def __init__(self, url: str, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)

    def close(self) -> None:
        """Give the connections back."""
        self.http.close()

    def get(self, path: str) -> Any:
        """The JSON behind a path."""
        return self.http.get(path).raise_for_status().json()

    def register(self, npz: bytes, weights: bytes, *, model: str = "digits", dataset: str = "digits") -> None:
        """Register data set and model and wait until a worker has checked both."""
        self.http.post("/datasets", json={"name": dataset}).raise_for_status()
        self.http.put(f"/datasets/{dataset}/content", content=npz).raise_for_status()
        spec = {"height": SIDE, "width": SIDE, "channels": 1, "mean": [MEAN], "std": [STD]}
        body = {"name": model, "architecture": ARCHITECTURE, "labels": list(LABELS), "input": spec}
        self.http.post("/models", json=body).raise_for_status()
        self.http.put(f"/models/{model}/weights", content=weights).raise_for_status()
        for path in (f"/datasets/{dataset}", f"/models/{model}/versions/1"):
            wait_until(partial(self._is_ready, path), seconds=60, what=f"{path} to be ready")

    def _is_ready(self, path: str) -> bool:
        return bool(self.get(path)["state"] == "ready")

    def submit(self, *classes: str, model: str = "digits", dataset: str = "digits", **more: Any) -> str:
        """POST /unlearn; the id of the accepted request."""
        body = {"model": model, "dataset": dataset, "classes": list(classes), **more}
        answer = self.http.post("/unlearn", json=body).raise_for_status()
        assert answer.status_code == httpx.codes.ACCEPTED
        return str(answer.json()["id"])

    def state(self, request: str) -> dict[str, Any]:
        """The request as it stands."""
        found: dict[str, Any] = self.get(f"/unlearn/{request}")
        return found

    def wait_final(self, request: str, *, seconds: float = 120) -> dict[str, Any]:
        """Poll until the request is final."""
        wait_until(
            lambda: self.state(request)["state"] in FINAL, seconds=seconds, what=f"request {request} to be final"
        )
        return self.state(request)

    def versions(self, model: str = "digits") -> list[dict[str, Any]]:
        """Every version of a model."""
        listed: list[dict[str, Any]] = self.get(f"/models/{model}/versions")["items"]
        return listed
