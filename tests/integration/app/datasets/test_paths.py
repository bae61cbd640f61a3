"""Data sets by path: only files below the operator's folder, whatever the name tries."""

from pathlib import Path

import pytest

from tests.integration.app.api import Api


def test_files_below_the_folder_are_a_sealed_set(api: Api) -> None:
    paths = {"train": "digits/train.zip", "test": "./digits//test.zip"}
    made = api.call("POST", "/datasets", body={"name": "digits", "paths": paths})
    assert (made.status, made.json()["state"]) == (201, "validating")
    assert [(source["split"], source["path"]) for source in made.json()["sources"]] == [
        ("train", "digits/train.zip"),
        ("test", "digits/test.zip"),
    ]
    assert api.ledger_types() == ["dataset.registered", "request.accepted", "dataset.sealed"]
    assert "digits/" not in str(api.ledger())


def test_link_that_stays_below_the_folder_is_kept_as_the_place_it_leads_to(api: Api, root: Path) -> None:
    (root / "newest.zip").symlink_to("whole.zip")
    made = api.call("POST", "/datasets", body={"name": "digits", "paths": {"all": "newest.zip"}})
    assert [source["path"] for source in made.json()["sources"]] == ["whole.zip"]


def test_folder_may_itself_be_a_link(database_url: str, tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    api = Api(database_url, tmp_path / "data", dataset_root=tmp_path / "link")
    assert api.call("POST", "/datasets", body={"name": "digits", "paths": {"all": "whole.zip"}}).status == 201
    api.app.state.resources.close()


@pytest.fixture
def traps(root: Path, tmp_path: Path) -> Path:
    """The folder with links that lead out of it, in a circle, and to nowhere."""
    (root / "out.zip").symlink_to(tmp_path / "secret.zip")
    (root / "relative.zip").symlink_to("../secret.zip")
    (root / "beside").symlink_to(tmp_path / "shared-too")
    (root / "top").symlink_to("/")
    (root / "circle").symlink_to("circle")
    (root / "dangling").symlink_to("nothing")
    (root / "empty").mkdir()
    return root


def test_every_way_out_of_the_folder_is_refused(api: Api, traps: Path, tmp_path: Path) -> None:
    for path in [
        "../secret.zip",
        "digits/../../secret.zip",
        "digits/../whole.zip",
        "..",
        str(tmp_path / "secret.zip"),
        str(traps / "whole.zip"),
        "/etc/passwd",
        "//etc/passwd",
        "out.zip",
        "relative.zip",
        "beside/secret.zip",
        "../shared-too/secret.zip",
        "top/etc/passwd",
        f"top{tmp_path}/secret.zip",
        "circle",
        "dangling",
        "unknown.zip",
        "whole.zip/x",
        "empty",
        ".",
        "whole.zip\x00.png",
        "whole\n.zip",
        "digits\\train.zip",
        "~/whole.zip",
        "$HOME/whole.zip",
        "file:whole.zip",
        "a/" * 500 + "b",
        "x" * 1_000,
    ]:
        answer = api.call("POST", "/datasets", body={"name": "digits", "paths": {"all": path}})
        assert (answer.status, answer.pointers) == (422, ["#/paths/all"]), path
        assert b"secret" not in answer.body, path
    assert api.call("GET", "/datasets").json()["items"] == []
    assert api.ledger() == []


def test_what_lies_outside_and_what_is_missing_get_the_same_words(api: Api, traps: Path) -> None:
    details = {
        api.call("POST", "/datasets", body={"name": "digits", "paths": {"all": path}}).json()["detail"]
        for path in ("out.zip", "dangling", "unknown.zip", "top/etc/passwd", "top/no/such/file")
    }
    assert len(details) == 1


@pytest.mark.parametrize(("paths", "missing"), [({"train": "whole.zip"}, ["test"]), ({}, ["test", "train"])])
def test_paths_without_a_split_are_refused(api: Api, paths: dict[str, str], missing: list[str]) -> None:
    answer = api.call("POST", "/datasets", body={"name": "digits", "paths": paths})
    assert (answer.status, answer.slug, answer.json()["missing"]) == (422, "missing-split", missing)


def test_whole_and_split_paths_do_not_mix(api: Api) -> None:
    answer = api.call("POST", "/datasets", body={"name": "digits", "paths": {"all": "whole.zip", "test": "whole.zip"}})
    assert (answer.status, answer.slug) == (409, "mixed-sources")


def test_file_over_the_limit_is_refused(api: Api, root: Path) -> None:
    (root / "large.zip").write_bytes(b"." * 20_001)
    answer = api.call("POST", "/datasets", body={"name": "digits", "paths": {"all": "large.zip"}})
    assert (answer.status, answer.slug) == (413, "content-too-large")


def test_without_a_shared_folder_no_path_is_taken(database_url: str, tmp_path: Path) -> None:
    api = Api(database_url, tmp_path / "data")
    answer = api.call("POST", "/datasets", body={"name": "digits", "paths": {"all": "/etc/passwd"}})
    assert (answer.status, answer.slug) == (422, "paths-not-allowed")
    api.app.state.resources.close()
