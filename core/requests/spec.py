"""What an unlearning job is asked to do: the contract between the API that writes it and the worker that reads it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.policy.policies import Policy


class Method(BaseModel):
    """How to unlearn. What is left out is chosen by the worker, on validation data, never on test data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["auto", "refit", "paper"] = Field(
        "auto",
        description=(
            "`paper`: the closed-form projection of Kodge, Saha and Roy (2024). `refit`: the last layers refitted in "
            "closed form, so that forgotten images are treated as the retained ones they resemble. `auto`: `refit`, "
            "and `paper` as well where `refit` costs too much or leaves too much; the better one on validation images "
            "is taken. With alphas given, `auto` means `paper`."
        ),
    )
    alpha_r: float | None = Field(None, gt=0, le=1e6, description="Scaling of the retain space; chosen if left out.")
    alpha_f: float | None = Field(None, gt=0, le=1e6, description="Scaling of the forget space; chosen if left out.")
    num_samples: int = Field(
        900,
        ge=10,
        le=100_000,
        description="Images drawn for each side; `refit` takes four times as many retained ones.",
    )
    max_rows: int = Field(10_000, ge=100, le=10_000_000, description="Most input patches per layer and side.")

    @model_validator(mode="after")
    def _both_alphas_or_none(self) -> "Method":
        if (self.alpha_r is None) != (self.alpha_f is None):
            msg = "Expected both alpha_r and alpha_f or neither of them, got one."
            raise ValueError(msg)
        if self.alpha_r is not None and self.name == "refit":
            msg = "Expected no alphas with the method 'refit', which has none; 'paper' takes them."
            raise ValueError(msg)
        return self


class UnlearnSpec(BaseModel):
    """An unlearning job, complete enough to run again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    version: int | None
    alias: str | None
    class_indices: list[int]
    dataset: str
    method: Method
    seed: int
    policy: Policy
