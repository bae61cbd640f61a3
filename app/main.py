"""The application: routes, errors and middleware put together. `uvicorn app.main:app` serves it."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import docs, errors, health, middleware, openapi
from app.audit.checkpoints import router as checkpoints
from app.audit.checkpoints_discovery import router as discovery
from app.audit.endpoints import router as audit
from app.audit.evidence import router as evidence
from app.audit.proofs import of_requests as request_proofs
from app.audit.proofs import router as proofs
from app.datasets.endpoints import router as datasets
from app.models.attestations import router as attestations
from app.models.endpoints import router as models
from app.models.recipes import router as recipes
from app.models.references import router as references
from app.policies.endpoints import router as policies
from app.recalls.endpoints import router as recalls
from app.reports.endpoints import router as reports
from app.resources import Resources
from app.subjects.endpoints import router as subjects
from app.unlearn.auditing_endpoints import router as auditing
from app.unlearn.deadlines_endpoints import router as deadlines
from app.unlearn.endpoints import router as unlearn
from app.unlearn.purging_endpoints import router as purging
from app.unlearn.replaying_endpoints import router as replaying
from core.settings import Settings, get_settings

DESCRIPTION = """
Deletes classes from trained image classifiers, verifies that they are gone, and keeps a ledger of what was done.

Problems are `application/problem+json` (RFC 9457). Every route but the health checks needs an API key with its scope.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """A new application; nothing is opened before the first request or the start of the server.

    Args:
        settings: what the operator chose; default: read from the environment.
    """
    settings = settings or get_settings()
    application = FastAPI(
        title="Expunge",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        redirect_slashes=False,
    )
    application.state.resources = Resources(settings)
    errors.install(application)
    openapi.install(application)
    # The last one added is the outermost.
    application.add_middleware(middleware.NoNul)
    application.add_middleware(middleware.BodyLimit, settings=settings)
    application.add_middleware(middleware.LingeringClose)
    application.add_middleware(middleware.RequestId)
    ledger = (audit, reports, evidence, checkpoints, proofs, request_proofs, discovery, recalls)
    requests = (policies, unlearn, auditing, replaying, purging, deadlines, subjects)
    for router in (health.router, models, attestations, references, recipes, datasets, *requests, *ledger):
        application.include_router(router)
    if settings.docs:
        application.include_router(docs.router)
    return application


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    middleware.configure_logging()
    held: Resources = application.state.resources
    stopped = threading.Event()
    threading.Thread(target=held.sealer.run, args=(stopped,), name="sealer", daemon=True).start()
    threading.Thread(target=held.rechecker.run, args=(stopped,), name="rechecker", daemon=True).start()
    try:
        yield
    finally:
        stopped.set()
        held.close()


def __getattr__(name: str) -> FastAPI:
    """`app`, made when a server asks for it: importing this module builds nothing and reads no environment."""
    if name == "app":
        return create_app()
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
