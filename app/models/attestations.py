"""Routes of what is attested of a version: statements in DSSE envelopes, and the signature beside the weights."""

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Header, Response

from app.dependencies import Caller, Held, caller
from app.models.schemas import NamePath, NumberPath
from app.models.service import checked_version
from app.models.views import version_url
from app.preconditions import etag, matches_weakly
from app.resources import Resources
from app.schemas import Out, problems
from models_store.attesting import KINDS, MODEL, Attested, NotAttested, attested

router = APIRouter(prefix="/models", tags=["models"])

ENVELOPE = "application/vnd.dsse.envelope.v1+json"
SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"
FILE: dict[int | str, dict[str, Any]] = {
    304: {"description": "It is as the ETag in If-None-Match says."},
    **problems(404, 409),
}
Downloader = Annotated[Caller, caller("artifacts:read")]
IfNoneMatch = Annotated[str | None, Header()]


class AttestationOut(Out):
    kind: str
    sha256: str
    url: str


class AttestationList(Out):
    items: list[AttestationOut]


@router.get("/{name}/versions/{number}/attestations", operation_id="list_attestations", responses=problems(404, 409))
def list_attestations(name: NamePath, number: NumberPath, who: Downloader, held: Held) -> AttestationList:
    """What is attested of a version that a deletion made, and the digests that the ledger has of it.

    `class-unlearning` says what was done, `test-result` which deciding tests passed, `svr` what the gate vouches for;
    `model.sig` is for `model_signing verify key`. They are signed when first asked for, once, from what the ledger says
    of the publication, and never change.
    """
    with held.database.reading() as session:
        here = version_url(checked_version(session, who, name, number).model, number)
    found = _attested(held, who, name, number)
    paths = {kind: MODEL if kind == MODEL else f"attestations/{quote(kind)}" for kind in KINDS}
    return AttestationList(
        items=[AttestationOut(kind=one.kind, sha256=one.sha256, url=f"{here}/{paths[one.kind]}") for one in found]
    )


@router.get(
    "/{name}/versions/{number}/attestations/{kind}",
    operation_id="download_attestation",
    response_class=Response,
    responses={200: {"content": {ENVELOPE: {}}, "description": "A DSSE envelope around an in-toto statement."}, **FILE},
)
def download_attestation(
    name: NamePath,
    number: NumberPath,
    kind: Literal["class-unlearning", "test-result", "svr"],
    who: Downloader,
    held: Held,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One statement about the version, signed by the service's statement key."""
    return _file(_attested(held, who, name, number), kind, ENVELOPE, if_none_match)


@router.get(
    "/{name}/versions/{number}/model.sig",
    operation_id="download_model_signature",
    response_class=Response,
    responses={200: {"content": {SIGSTORE: {}}, "description": "A Sigstore bundle (OpenSSF Model Signing)."}, **FILE},
)
def download_model_signature(
    name: NamePath, number: NumberPath, who: Downloader, held: Held, if_none_match: IfNoneMatch = None
) -> Response:
    """The signature of the weights as `model.sig`.

    Put both into one folder, the weights under the name they were downloaded by, and check them with the public tool:
    `model_signing verify key FOLDER --signature FOLDER/model.sig --public_key key.pem`. The key is in
    `/.well-known/expunge`.
    """
    return _file(_attested(held, who, name, number), MODEL, SIGSTORE, if_none_match)


def _attested(held: Resources, who: Caller, name: str, number: int) -> list[Attested]:
    with held.database.reading() as session:
        version_id = checked_version(session, who, name, number).id
    return attested(held.database, held.keys.current(), version_id)


def _file(found: list[Attested], kind: str, media_type: str, if_none_match: str | None) -> Response:
    one = next((one for one in found if one.kind == kind), None)
    if one is None:
        msg = f"Expected the version to have {kind}, got one without."
        raise NotAttested(msg)
    tag = etag(one.sha256)
    if if_none_match is not None and matches_weakly(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    filename = MODEL if kind == MODEL else f"{kind}.dsse.json"
    headers = {"ETag": tag, "Content-Disposition": f'attachment; filename="{filename}"'}
    return Response(one.content, media_type=media_type, headers=headers)
