"""Routes of models, versions, aliases and downloads."""

from io import BytesIO
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.dependencies import Caller, Held, Paging, ReadingSession, WritingSession, caller
from app.models import aliases, service, views
from app.models.artifacts import open_artifact, open_behind_glass, purged_stay_out
from app.models.download import MEDIA_TYPE, answer
from app.models.paging import position
from app.models.schemas import (
    AliasList,
    AliasOut,
    AliasPath,
    BreakGlassIn,
    LabelList,
    ModelOut,
    ModelPage,
    NamePath,
    NewAliasPath,
    NumberPath,
    RegisterModel,
    SetAlias,
    VersionOut,
    VersionPage,
)
from app.models.uploads import receive, upload_body
from app.preconditions import Preconditions, etag
from app.resources import Resources
from app.schemas import problems
from models_store.headers import MAX_HEADER_BYTES, read_header
from models_store.lineage.break_glass import Reason
from models_store.lineage.labels import retired_labels, shown_labels
from models_store.registry import find_alias, find_model, find_version, forgotten_classes
from models_store.storage import StoredBlob

router = APIRouter(prefix="/models", tags=["models"])

Reader = Annotated[Caller, caller("models:read")]
Writer = Annotated[Caller, caller("models:write")]
Downloader = Annotated[Caller, caller("artifacts:read")]

Answers = dict[int | str, dict[str, Any]]
TEXT = {"schema": {"type": "string"}}
DIGEST_HEADERS = {
    "Repr-Digest": {"description": "RFC 9530; of the whole file.", **TEXT},
    "Expunge-Verdict": {"description": "What the verification said; absent for an upload.", **TEXT},
    "Expunge-Overridden-By": {"description": "Who published it although that was no `pass`.", **TEXT},
}
BINARY = {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}, "headers": DIGEST_HEADERS}
ARTIFACT_ANSWERS: Answers = {
    200: {"description": "The whole file.", **BINARY},
    206: {"description": "The range asked for.", **BINARY},
    304: {"description": "The caller has it already."},
    **problems(404, 409, 410, 416),
}
BREAK_GLASS_ANSWERS: Answers = {200: {"description": "The whole file.", **BINARY}, **problems(404, 409, 410, 413, 415)}
UPLOAD_ANSWERS: Answers = {
    200: {"model": VersionOut, "description": "These bytes are a version already."},
    **problems(400, 404, 410, 413),
}
ALIAS_ANSWERS: Answers = {
    201: {"model": AliasOut, "description": "The alias is new."},
    **problems(404, 409, 412, 413, 415, 428),
}


def _preconditions(
    if_match: Annotated[str | None, Header(description='`"<revision>"`: the state that is changed.')] = None,
    if_none_match: Annotated[str | None, Header(description="`*`: only if it does not exist.")] = None,
) -> Preconditions:
    return Preconditions(if_match, if_none_match)


Conditions = Annotated[Preconditions, Depends(_preconditions)]


async def _received_weights(request: Request, who: Writer, held: Held, name: NamePath) -> StoredBlob:
    # Known before the first byte is read: nobody uploads gigabytes to learn that the name was misspelt.
    await run_in_threadpool(_require_model, held, who, name)
    return await receive(
        request,
        held.storage,
        max_bytes=held.settings.max_weights_bytes,
        inspect=lambda head, size_bytes: read_header(BytesIO(head), size_bytes),
        num_head_bytes=8 + MAX_HEADER_BYTES,
    )


def _require_model(held: Resources, who: Caller, name: str) -> None:
    with held.database.reading() as session:
        find_model(session, who.tenant, name)


ReceivedWeights = Annotated[StoredBlob, Depends(_received_weights)]


@router.post("", operation_id="register_model", status_code=201, responses=problems(409, 413, 415))
def register_model(body: RegisterModel, who: Writer, session: WritingSession, response: Response) -> ModelOut:
    """Register a classifier: its architecture, its labels in the order of the outputs, its input.

    Architectures come from an allow-list; nothing a caller names is ever imported. The weights follow with
    `PUT /models/{name}/weights`.
    """
    model = service.register(session, who, body)
    response.headers["Location"] = views.model_url(model.name)
    return views.model_out(model, model.labels, {}, [], service.origin_of(session, model))


@router.get("", operation_id="list_models", responses=problems())
def list_models(who: Reader, session: ReadingSession, page: Paging) -> ModelPage:
    """The registered models, in the order of their registration."""
    return views.model_page(service.models_after(session, who, position(page.after), page.limit), page.limit)


@router.get("/{name}", operation_id="show_model", responses=problems(404))
def show_model(name: NamePath, who: Reader, session: ReadingSession) -> ModelOut:
    """A model with its labels, its aliases, and the classes deleted from it."""
    model = find_model(session, who.tenant, name)
    aliases, origin = service.aliases_of(session, model), service.origin_of(session, model)
    labels = shown_labels(session, model)
    return views.model_out(model, labels, forgotten_classes(session, model), aliases, origin)


@router.put(
    "/{name}/weights",
    operation_id="upload_weights",
    status_code=202,
    responses=UPLOAD_ANSWERS,
    openapi_extra=upload_body(MEDIA_TYPE),
)
def upload_weights(name: NamePath, blob: ReceivedWeights, who: Writer, held: Held, response: Response) -> VersionOut:
    """Upload a safetensors file as the model's next version.

    Size, `Repr-Digest` (SHA-256 or SHA-512) and the file's header are judged at once; whether the weights fit the
    architecture and are finite is judged by a worker: the version is `validating`, then `ready` or `refused`.
    """
    # Its own transaction, opened only now: on SQLite a writer holds everybody else up.
    with purged_stay_out(held, who, blob), held.database.writing() as session:
        version, is_queued = service.add_upload(session, who, name, blob, held.settings.max_attempts)
        response.status_code = 202 if is_queued else 200
        response.headers["Location"] = views.version_url(version.model, version.number)
        return views.version_out(session, version)


@router.get("/{name}/versions", operation_id="list_versions", responses=problems(404))
def list_versions(name: NamePath, who: Reader, session: ReadingSession, page: Paging) -> VersionPage:
    """The model's versions by number, with their lineage."""
    model = find_model(session, who.tenant, name)
    versions = service.versions_after(session, model, position(page.after), page.limit)
    return views.version_page(session, model, versions, page.limit)


@router.get("/{name}/versions/{number}", operation_id="show_version", responses=problems(404))
def show_version(name: NamePath, number: NumberPath, who: Reader, session: ReadingSession) -> VersionOut:
    """A version: its state, digest, parent, the request that made it and that request's verdict.

    One in quarantine says why, and what takes its place.
    """
    return views.version_out(session, find_version(session, find_model(session, who.tenant, name), number))


@router.get("/{name}/versions/{number}/labels", operation_id="list_labels", responses=problems(404))
def list_labels(name: NamePath, number: NumberPath, who: Reader, session: ReadingSession) -> LabelList:
    """What each output of the version stands for. The label of a deleted class is retired; its index stays."""
    version = find_version(session, find_model(session, who.tenant, name), number)
    return views.label_list(version, retired_labels(session, version))


@router.get(
    "/{name}/versions/{number}/artifact",
    operation_id="download_artifact",
    response_class=Response,
    responses=ARTIFACT_ANSWERS,
)
def download_artifact(name: NamePath, number: NumberPath, who: Downloader, held: Held, request: Request) -> Response:
    """Download the weights as safetensors.

    The ETag is the SHA-256 of the file and `Repr-Digest` says it again on every answer, so that a download resumed with
    `Range` and `If-Range` can be checked as a whole. The stored bytes are read again and compared before they are sent.

    A version that holds a deleted class is gone (410, `model-quarantined`, later `model-purged`); `successor` names
    what takes its place.
    """
    return answer(open_artifact(held, who, name, number), request.method, request.headers)


@router.head(
    "/{name}/versions/{number}/artifact",
    operation_id="describe_artifact",
    response_class=Response,
    responses=ARTIFACT_ANSWERS,
)
def describe_artifact(name: NamePath, number: NumberPath, who: Downloader, held: Held, request: Request) -> Response:
    """The headers of the download without its content."""
    return answer(open_artifact(held, who, name, number), request.method, request.headers)


@router.post(
    "/{name}/versions/{number}/break-glass",
    operation_id="break_glass",
    response_class=Response,
    responses=BREAK_GLASS_ANSWERS,
)
def break_glass(
    name: NamePath,
    number: NumberPath,
    body: BreakGlassIn,
    who: Annotated[Caller, caller("break-glass")],
    held: Held,
    request: Request,
) -> Response:
    """Download the weights of a version in quarantine, and say why.

    Needs the scope `break-glass` by name: `admin` does not hold it. Who did it and when stands in the ledger before the
    first byte leaves; the reason stays beside the version.
    """
    return answer(open_behind_glass(held, who, name, number, Reason(body.reason)), request.method, {})


@router.get("/{name}/aliases", operation_id="list_aliases", responses=problems(404))
def list_aliases(name: NamePath, who: Reader, session: ReadingSession) -> AliasList:
    """Every alias of the model."""
    model = find_model(session, who.tenant, name)
    return views.alias_list(model, service.aliases_of(session, model))


@router.get("/{name}/aliases/{alias}", operation_id="show_alias", responses=problems(404))
def show_alias(name: NamePath, alias: AliasPath, who: Reader, session: ReadingSession, response: Response) -> AliasOut:
    """An alias; its ETag is what `If-Match` takes to move it."""
    model = find_model(session, who.tenant, name)
    found = find_alias(session, model, alias)
    response.headers["ETag"] = etag(found.revision)
    return views.alias_out(model, found)


@router.put(
    "/{name}/aliases/{alias}",
    operation_id="set_alias",
    responses=ALIAS_ANSWERS,
)
def set_alias(
    name: NamePath,
    alias: NewAliasPath,
    body: SetAlias,
    conditions: Conditions,
    who: Writer,
    session: WritingSession,
    response: Response,
) -> AliasOut:
    """Make an alias (`If-None-Match: *`) or move it (`If-Match` with its ETag).

    The version must be ready and hold no class that was deleted from the model.
    """
    moved, is_new = aliases.move(session, who, name, alias, body.version, conditions)
    response.headers["ETag"] = etag(moved.revision)
    if is_new:
        response.status_code = 201
        response.headers["Location"] = views.alias_url(moved.version.model, alias)
    return views.alias_out(moved.version.model, moved)


@router.delete(
    "/{name}/aliases/{alias}", operation_id="remove_alias", status_code=204, responses=problems(404, 412, 428)
)
def remove_alias(
    name: NamePath, alias: AliasPath, conditions: Conditions, who: Writer, session: WritingSession
) -> None:
    """Remove an alias (`If-Match` with its ETag); the version stays."""
    aliases.remove(session, who, name, alias, conditions)
