"""Errors get their status by family and say where the offending member is."""

import importlib
import inspect
import pkgutil

import pytest

import app
import core
import models_store
from app.errors import STATUS, pointer_into, status_of
from core import errors as service
from core.requests.moves import InvalidMove
from models_store.errors import MalformedWeights
from models_store.registry import UnknownModel

NEVER_ANSWERED = {service.ServiceError, service.JobCancelled}


def test_every_family_has_a_status() -> None:
    families = {
        kind
        for _, kind in inspect.getmembers(service, inspect.isclass)
        if issubclass(kind, service.ServiceError) and kind not in NEVER_ANSWERED
    }
    assert families <= set(STATUS)


def test_every_type_of_problem_has_one_title() -> None:
    for room in (app, core, models_store):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            importlib.import_module(module.name)
    titles: dict[str, set[str]] = {}
    kinds = [service.ServiceError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        titles.setdefault(kind.slug, set()).add(kind.title)
    assert {slug: told for slug, told in titles.items() if len(told) > 1} == {}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownModel("x"), 404),
        (InvalidMove("x"), 409),
        (MalformedWeights("x"), 422),
        (service.TooLarge("x"), 413),
        (service.BadDigest("x"), 400),
        (service.DigestMismatch("x"), 500),
        (service.JobCancelled("x"), 500),
    ],
)
def test_an_error_has_the_status_of_its_family(error: service.ServiceError, status: int) -> None:
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("body", "path", "pointer"),
    [
        ({"a": [1, {"b": 2}]}, ["a", 1, "b"], "#/a/1/b"),
        ({"classes": [True]}, ["classes", 0, "int"], "#/classes/0"),
        ({"x/y": {"~": 1}}, ["x/y", "~"], "#/x~1y/~0"),
        ({"ü": 1}, ["ü"], "#/%C3%BC"),
        ({"t": {"k": 1}}, ["t", "k", "[key]"], "#/t/k"),
        (b"not json", [3], "#"),
        (None, [], "#"),
    ],
)
def test_pointers_lead_to_members_the_body_has(body: object, path: list[str | int], pointer: str) -> None:
    assert pointer_into(body, path) == pointer


def test_the_pointer_to_a_missing_member_says_where_it_belongs() -> None:
    assert pointer_into({"a": {}}, ["a", "b"], absent=True) == "#/a/b"
