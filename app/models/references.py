"""Routes of references: models trained without some classes, that unlearned versions are compared with."""

from io import BytesIO
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.dependencies import Caller, Held, Paging, ReadingSession, WritingSession, caller
from app.models import references_service as service
from app.models import references_views as views
from app.models.download import MEDIA_TYPE
from app.models.paging import position
from app.models.references_schemas import ReferenceOut, ReferencePage, ReferencePath, RegisterReference
from app.models.schemas import NamePath
from app.models.uploads import receive, upload_body
from app.resources import Resources
from app.schemas import problems
from models_store.headers import MAX_HEADER_BYTES, read_header
from models_store.references import find_reference
from models_store.registry import find_model
from models_store.storage import StoredBlob

router = APIRouter(prefix="/models/{name}/references", tags=["references"])

Reader = Annotated[Caller, caller("models:read")]
Writer = Annotated[Caller, caller("models:write")]


async def _received_weights(
    request: Request, who: Writer, held: Held, name: NamePath, number: ReferencePath
) -> StoredBlob:
    # Known before the first byte is read, as for versions.
    await run_in_threadpool(_require_upload, held, who, name, number)
    return await receive(
        request,
        held.storage,
        max_bytes=held.settings.max_weights_bytes,
        inspect=lambda head, size_bytes: read_header(BytesIO(head), size_bytes),
        num_head_bytes=8 + MAX_HEADER_BYTES,
    )


def _require_upload(held: Resources, who: Caller, name: str, number: int) -> None:
    with held.database.reading() as session:
        service.require_upload(session, who, name, number)


ReceivedWeights = Annotated[StoredBlob, Depends(_received_weights)]


@router.post("", operation_id="register_reference", status_code=201, responses=problems(404, 409, 413, 415))
def register_reference(
    name: NamePath, body: RegisterReference, who: Writer, session: WritingSession, response: Response
) -> ReferenceOut:
    """Register a model of the same architecture that was trained without some classes.

    Its weights follow with `PUT /models/{name}/references/{number}/weights`. The data set's test split is what it is
    checked on. Or have the service train one: `POST /models/{name}/retrain`.
    """
    reference = service.register(session, who, name, body)
    response.headers["Location"] = views.reference_url(reference.model, reference.number)
    return views.reference_out(session, reference)


@router.put(
    "/{number}/weights",
    operation_id="upload_reference",
    status_code=202,
    responses={
        200: {"model": ReferenceOut, "description": "The reference has these bytes already."},
        **problems(400, 404, 409, 413),
    },
    openapi_extra=upload_body(MEDIA_TYPE),
)
def upload_reference(
    name: NamePath, number: ReferencePath, blob: ReceivedWeights, who: Writer, held: Held, response: Response
) -> ReferenceOut:
    """Upload the weights of a reference as safetensors.

    Size, `Repr-Digest` and the file's header are judged at once. A worker judges whether the weights fit the
    architecture, lack the classes and know the others about as well as the model does: the reference is `validating`,
    then `ready` or `refused`.
    """
    # Its own transaction, opened only now: on SQLite a writer holds everybody else up.
    with held.database.writing() as session:
        most = held.settings.max_attempts
        reference, is_queued = service.add_weights(session, who, name, number, blob, most)
        response.status_code = 202 if is_queued else 200
        response.headers["Location"] = views.reference_url(reference.model, reference.number)
        return views.reference_out(session, reference)


@router.get("", operation_id="list_references", responses=problems(404))
def list_references(name: NamePath, who: Reader, session: ReadingSession, page: Paging) -> ReferencePage:
    """The model's references by number."""
    model = find_model(session, who.tenant, name)
    found = service.references_after(session, model, position(page.after), page.limit)
    return views.reference_page(session, model, found, page.limit)


@router.get("/{number}", operation_id="show_reference", responses=problems(404))
def show_reference(name: NamePath, number: ReferencePath, who: Reader, session: ReadingSession) -> ReferenceOut:
    """A reference: its state, the classes it lacks, and what the check measured."""
    return views.reference_out(session, find_reference(session, find_model(session, who.tenant, name), number))
