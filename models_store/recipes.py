"""How a model is trained from scratch: a document with limits, versioned, named by its digest.

The same recipe with the same images and seed must give the same network, so everything that the training depends on
stands here, and nothing is guessed from the data.
"""

import secrets
from hashlib import sha256
from typing import Annotated, Literal, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import database_now
from core.errors import NotFound
from core.ledger.entries import Record, append
from models_store.tables import Model, TrainingRecipe

MAX_SEED = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exact."""
MAX_EPOCHS = 1000

Positive = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Seed = Annotated[int, Field(strict=True, ge=0, le=MAX_SEED)]
Epoch = Annotated[int, Field(strict=True, ge=1, le=MAX_EPOCHS)]


class UnknownRecipe(NotFound):
    """No training recipe is registered with the model, or none of this version."""

    slug = "unknown-recipe"
    title = "Unknown training recipe"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sgd(_Part):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    momentum: float = Field(0.9, ge=0, lt=1, allow_inf_nan=False)
    nesterov: bool = True

    @model_validator(mode="after")
    def _momentum_for_nesterov(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("Expected a momentum above 0 with nesterov, got 0.")
        return self


class AdamW(_Part):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    name: Literal["adamw"]
    beta1: float = Field(0.9, ge=0, lt=1, allow_inf_nan=False)
    beta2: float = Field(0.999, ge=0, lt=1, allow_inf_nan=False)


class Constant(_Part):
    """The learning rate stays as it is."""

    name: Literal["constant"]


class Cosine(_Part):
    """A linear warm-up, then half a cosine down to zero (Loshchilov and Hutter, 2017)."""

    name: Literal["cosine"]
    warmup_epochs: int = Field(0, strict=True, ge=0, le=MAX_EPOCHS)


class OneCycle(_Part):
    """Up from a 25th of the learning rate and down to almost nothing, both by half a cosine (Smith and Topin, 2018)."""

    name: Literal["one-cycle"]
    peak_at: float = Field(0.3, gt=0, lt=1, allow_inf_nan=False, description="Share of the steps before the peak.")


class Steps(_Part):
    """The learning rate is multiplied by `factor` after each of the epochs in `milestones`."""

    name: Literal["step"]
    milestones: list[Epoch] = Field(min_length=1, max_length=100)
    factor: float = Field(0.1, gt=0, lt=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"Expected milestones in rising order, each once, got {self.milestones}.")
        return self


class Augmentation(_Part):
    """How training images are varied: mirrored half of the time, and cut out of a black frame at a random place."""

    flip: bool = Field(False, description="Mirror left and right with probability one half.")
    crop_padding: int = Field(0, strict=True, ge=0, le=64, description="Width of the frame in pixels; 0: no crop.")


class FixedSeed(_Part):
    """A retraining that names no seed takes this one, so that it can be repeated."""

    policy: Literal["fixed"]
    seed: Seed = 0


class FreshSeed(_Part):
    """A retraining that names no seed draws one, so that two references of one recipe are independent."""

    policy: Literal["fresh"]


class Recipe(_Part):
    """Everything that a training depends on beside architecture, images and seed."""

    optimiser: Annotated[Sgd | AdamW, Field(discriminator="name")]
    learning_rate: Positive = Field(description="Its highest value; the schedule multiplies it by 0 to 1.")
    weight_decay: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    epochs: Epoch
    # At 8 and more, cutting an epoch into nearly equal parts never leaves one image alone, which normalisation over a
    # batch could not take.
    batch_size: int = Field(strict=True, ge=8, le=65_536)
    schedule: Annotated[Constant | Cosine | OneCycle | Steps, Field(discriminator="name")] = Constant(name="constant")
    augmentation: Augmentation = Augmentation.model_validate({})
    label_smoothing: float = Field(0.0, ge=0, lt=1, allow_inf_nan=False)
    seed: Annotated[FixedSeed | FreshSeed, Field(discriminator="policy")] = FixedSeed(policy="fixed")

    @model_validator(mode="after")
    def _schedule_within_epochs(self) -> Self:
        schedule = self.schedule
        if isinstance(schedule, Cosine) and schedule.warmup_epochs >= self.epochs:
            msg = f"Expected fewer than {self.epochs} warm-up epochs, got {schedule.warmup_epochs}."
            raise ValueError(msg)
        if isinstance(schedule, Steps) and schedule.milestones[-1] >= self.epochs:
            msg = f"Expected milestones below {self.epochs} epochs, got {schedule.milestones[-1]}."
            raise ValueError(msg)
        return self

    @property
    def sha256(self) -> str:
        """Digest of the recipe's canonical JSON (RFC 8785), defaults spelled out."""
        return sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()

    def drawn_seed(self) -> int:
        """The seed of a training that names none."""
        return self.seed.seed if isinstance(self.seed, FixedSeed) else secrets.randbelow(MAX_SEED + 1)


class RetrainSpec(BaseModel):
    """A retraining, complete enough to run again: the contract between the API that writes it and the worker."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    absent_classes: list[int]
    dataset: str
    seed: int
    recipe: Recipe
    recipe_version: int | None
    """Which of the model's recipes it is; None for one that came with the request."""
    note: str | None = None


def find_recipe(session: Session, model: Model, version: int | None = None) -> TrainingRecipe:
    """One of the model's recipes, by default the newest.

    Raises:
        UnknownRecipe: there is none.
    """
    query = select(TrainingRecipe).where(TrainingRecipe.model_id == model.id)
    if version is not None:
        query = query.where(TrainingRecipe.version == version)
    found = session.execute(query.order_by(TrainingRecipe.version.desc()).limit(1)).scalar_one_or_none()
    if found is None:
        which = "a training recipe" if version is None else f"a training recipe of version {version}"
        msg = f"Expected model {model.name!r} to have {which}, got none; PUT /models/{model.name}/recipe registers one."
        raise UnknownRecipe(msg)
    return found


def put_recipe(session: Session, model: Model, recipe: Recipe, *, actor: str) -> tuple[TrainingRecipe, bool]:
    """Make a recipe the model's newest and write the ledger entry; the caller holds the model's row and commits.

    What was used once is never changed: another recipe is the next version, and the newest again is nothing new.

    Returns:
        The row, and whether it was written now.
    """
    query = select(TrainingRecipe).where(TrainingRecipe.model_id == model.id)
    newest = session.execute(query.order_by(TrainingRecipe.version.desc()).limit(1)).scalar_one_or_none()
    if newest is not None and newest.sha256 == recipe.sha256:
        return newest, False
    row = TrainingRecipe(
        model_id=model.id,
        version=newest.version + 1 if newest else 1,
        tenant=model.tenant,
        actor=actor,
        content=recipe.model_dump(mode="json"),
        sha256=recipe.sha256,
        created_at=database_now(session),
    )
    session.add(row)
    session.flush()
    data = {"model": model.name, "recipe": row.version, "sha256": row.sha256}
    append(session, Record(type="recipe.added", tenant=model.tenant, actor=actor, data=data))
    return row, True
