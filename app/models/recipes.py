"""Routes of training recipes and of the retrainings that follow them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response

from app.dependencies import Caller, CurrentSettings, Paging, ReadingSession, WritingSession, caller
from app.models import references_retraining as service
from app.models import references_views as views
from app.models.references_schemas import RecipeOut, RecipeQuery, RetrainIn, RetrainingOut, RetrainingPage
from app.models.schemas import NamePath
from app.preconditions import etag, matches_weakly
from app.schemas import problems
from core.states import JobState
from models_store.recipes import Recipe, find_recipe, put_recipe
from models_store.registry import find_model

router = APIRouter(prefix="/models/{name}", tags=["references"])

Reader = Annotated[Caller, caller("models:read")]
Writer = Annotated[Caller, caller("models:write")]

POLL_AFTER_SECONDS = 1


@router.put(
    "/recipe",
    operation_id="set_recipe",
    responses={201: {"model": RecipeOut, "description": "The model's first recipe."}, **problems(404, 413, 415)},
)
def set_recipe(name: NamePath, body: Recipe, who: Writer, session: WritingSession, response: Response) -> RecipeOut:
    """Register how the model is trained from scratch.

    A recipe is never changed: another one is the next version, and retrainings that wait or run keep theirs.
    """
    model = find_model(session, who.tenant, name, lock=True)
    row, is_new = put_recipe(session, model, body, actor=who.actor)
    response.status_code = 201 if is_new and row.version == 1 else 200
    shown = views.recipe_out(model, row)
    response.headers["ETag"] = etag(row.version)
    response.headers["Location"] = shown.links["self"]
    return shown


@router.get("/recipe", operation_id="show_recipe", responses=problems(404))
def show_recipe(
    name: NamePath, who: Reader, session: ReadingSession, response: Response, version: RecipeQuery = None
) -> RecipeOut:
    """The model's newest training recipe, or an older one by its version."""
    model = find_model(session, who.tenant, name)
    row = find_recipe(session, model, version)
    response.headers["ETag"] = etag(row.version)
    return views.recipe_out(model, row)


@router.post(
    "/retrain",
    operation_id="retrain_model",
    status_code=202,
    response_model=RetrainingOut,
    responses=problems(404, 409, 413, 415),
)
def retrain_model(
    name: NamePath, body: RetrainIn, who: Writer, session: WritingSession, settings: CurrentSettings
) -> Response:
    """Have a reference trained from scratch without some classes.

    The job waits in the same queue as deletions. When it is `completed`, `reference` is the number of the new
    reference; it is `rejected` when what was trained is no reference, because it failed the check that uploads go
    through.
    """
    model, job = service.retrain(session, who, name, body, settings.max_attempts)
    return _answer(views.retraining_out(session, model, job), 202)


@router.get("/retrain", operation_id="list_retrainings", responses=problems(404))
def list_retrainings(name: NamePath, who: Reader, session: ReadingSession, page: Paging) -> RetrainingPage:
    """The model's retrainings, newest first."""
    model = find_model(session, who.tenant, name)
    jobs = service.retrainings_before(session, model, page.after, page.limit)
    return views.retraining_page(session, model, jobs, page.limit)


@router.get(
    "/retrain/{retraining_id}",
    operation_id="show_retraining",
    response_model=RetrainingOut,
    responses={304: {"description": "It is as the ETag in If-None-Match says."}, **problems(404)},
)
def show_retraining(
    name: NamePath,
    retraining_id: UUID,
    who: Reader,
    session: ReadingSession,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A retraining with its epoch, its progress and its result.

    Poll with `If-None-Match` and wait `Retry-After` seconds in between; without `Retry-After` it is final.
    """
    model = find_model(session, who.tenant, name)
    job = service.find_retraining(session, model, retraining_id)
    return _answer(views.retraining_out(session, model, job), 200, if_none_match)


@router.delete(
    "/retrain/{retraining_id}",
    operation_id="cancel_retraining",
    response_model=RetrainingOut,
    responses={202: {"model": RetrainingOut, "description": "It runs, and will stop soon."}, **problems(404, 409)},
)
def cancel_retraining(name: NamePath, retraining_id: UUID, who: Writer, session: WritingSession) -> Response:
    """Withdraw a retraining: at once while it is queued (200), between two batches while it runs (202)."""
    shown = views.retraining_out(session, *service.cancel(session, who, name, retraining_id))
    return _answer(shown, 202 if shown.state is JobState.RUNNING else 200)


def _answer(shown: RetrainingOut, status: int, if_none_match: str | None = None) -> Response:
    tag = etag(shown.revision)
    headers = {"ETag": tag}
    if not shown.state.is_final:
        headers["Retry-After"] = str(POLL_AFTER_SECONDS)
    if if_none_match is not None and matches_weakly(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    if status == 202:
        headers["Location"] = shown.links["self"]
    return Response(shown.model_dump_json().encode(), status, headers=headers, media_type="application/json")
