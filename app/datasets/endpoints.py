"""Routes of data sets."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.datasets import service, views
from app.datasets.content import HEAD_BYTES, inspect
from app.datasets.schemas import DatasetOut, DatasetPage, NamePath, RegisterDataset, Split
from app.dependencies import Caller, CurrentSettings, Held, Paging, ReadingSession, WritingSession, caller
from app.models.paging import position
from app.models.uploads import receive, upload_body
from app.resources import Resources
from app.schemas import problems
from models_store.registry import find_dataset
from models_store.storage import StoredBlob

router = APIRouter(prefix="/datasets", tags=["datasets"])

Reader = Annotated[Caller, caller("models:read")]
Writer = Annotated[Caller, caller("models:write")]
SplitQuery = Annotated[
    Split | None, Query(description="Which split the file is; left out: its content says, and the set seals itself.")
]


async def _received_content(
    request: Request, who: Writer, held: Held, name: NamePath, split: SplitQuery = None
) -> StoredBlob:
    # Asked before the first byte is read, and again when the bytes are here.
    await run_in_threadpool(_require_draft, held, who, name, split)
    return await receive(
        request,
        held.storage,
        max_bytes=held.settings.max_dataset_bytes,
        inspect=inspect,
        num_head_bytes=HEAD_BYTES,
    )


def _require_draft(held: Resources, who: Caller, name: str, split: str | None) -> None:
    with held.database.reading() as session:
        service.require_draft(session, who, name, split or service.WHOLE)


ReceivedContent = Annotated[StoredBlob, Depends(_received_content)]


@router.post("", operation_id="register_dataset", status_code=201, responses=problems(409, 413, 415))
def register_dataset(
    body: RegisterDataset, who: Writer, session: WritingSession, settings: CurrentSettings, response: Response
) -> DatasetOut:
    """Register a data set, as a draft that takes uploads or by files below the operator's folder.

    With `paths` it seals itself and a worker reads it. `labels` gives names to the bare class numbers of an npz.
    """
    dataset = service.register(session, who, body, settings)
    response.headers["Location"] = views.dataset_url(dataset.name)
    return views.dataset_out(dataset)


@router.get("", operation_id="list_datasets", responses=problems())
def list_datasets(who: Reader, session: ReadingSession, page: Paging) -> DatasetPage:
    """The registered data sets, in the order of their registration."""
    return views.dataset_page(service.datasets_after(session, who, position(page.after), page.limit), page.limit)


@router.get("/{name}", operation_id="show_dataset", responses=problems(404))
def show_dataset(name: NamePath, who: Reader, session: ReadingSession) -> DatasetOut:
    """A data set: its state, its labels, its images per split and label."""
    return views.dataset_out(find_dataset(session, who.tenant, name))


@router.put(
    "/{name}/content",
    operation_id="upload_content",
    status_code=202,
    responses=problems(400, 404, 409, 413),
    openapi_extra=upload_body("application/octet-stream"),
)
def upload_content(
    name: NamePath, blob: ReceivedContent, who: Writer, held: Held, split: SplitQuery = None
) -> DatasetOut:
    """Upload a zip, tar, tar.gz or npz file as one split, or as the whole set.

    Image folders are `<class>/<file>` in a split's file and `<split>/<class>/<file>` in a whole one; an npz holds `x`
    and `y`, or `x_train`, `y_train`, `x_test`, `y_test`. A whole file seals the set.
    """
    # Its own transaction, opened only now: on SQLite a writer holds everybody else up.
    with held.database.writing() as session:
        dataset = service.add_content(session, who, name, split or service.WHOLE, blob, held.settings)
        return views.dataset_out(dataset)


@router.post("/{name}/seal", operation_id="seal_dataset", status_code=202, responses=problems(404, 409))
def seal_dataset(name: NamePath, who: Writer, session: WritingSession, settings: CurrentSettings) -> DatasetOut:
    """Close a draft for good: it takes no more files, and a worker reads it."""
    return views.dataset_out(service.seal(session, who, name, settings))
