"""The steps in their order; the only place that knows it.

Each finished step is recorded under the fence with the digest of what went into it. A later attempt takes a step as
done if the same went in, the record is whole, and every blob it names is in the store with the right bytes. Loading is
never skipped: it is what notices that the world has changed, and a changed output invalidates all that follow.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from core import log
from core.clock import database_now
from core.errors import ServiceError
from core.requests.claims import hold
from core.requests.tables import JobStep
from core.states import Step
from worker.patience import patiently
from worker.pipeline import load, package, publish, unlearn, verify
from worker.pipeline.context import Context
from worker.pipeline.outputs import Erased, Loaded, Output, Packaged, Verified, digest

STEPS: tuple[tuple[Step, Callable[[Context], Output], type[Output]], ...] = (
    (Step.LOAD, load.run, Loaded),
    (Step.UNLEARN, unlearn.run, Erased),
    (Step.VERIFY, verify.run, Verified),
    (Step.PACKAGE, package.run, Packaged),
)
"""All but the last, which is no computation: `publish` takes the passed verdict, or nothing is published."""

_log = log.get_logger("pipeline")


def run(context: Context) -> None:
    """Run every step that is not done yet, and end the job."""
    for step, action, kind in STEPS:
        _step(context, step, action, kind)
        if step is Step.VERIFY and context.verdict().passed() is None:
            publish.reject(context, context.verdict())
            return
    passed = context.verdict().passed()
    if passed is None:
        msg = f"Expected a passed verdict after packaging, got {context.verdict().outcome}."
        raise RuntimeError(msg)
    context.progress.begin(Step.PUBLISH)
    publish.publish(context, passed)


def _step(context: Context, step: Step, action: Callable[[Context], Output], kind: type[Output]) -> None:
    context.progress.begin(step)
    inputs = _inputs(context)
    if step is not Step.LOAD:
        done = _recorded(context, step, kind, inputs)
        if done is not None:
            _log.info("step.skipped", step=step.value)
            context.outputs[step], context.seconds[step.value] = done
            return
    began, started_at = time.monotonic(), _now(context)
    output = action(context)
    context.outputs[step] = output
    context.seconds[step.value] = round(time.monotonic() - began, 3)
    _record(context, step, inputs, started_at)
    _log.info("step.finished", step=step.value, seconds=context.seconds[step.value])


def _inputs(context: Context) -> str:
    """Digest of all that the next step builds on."""
    spec = context.spec.model_dump(mode="json")
    return digest([spec, *(output.model_dump(mode="json") for output in context.outputs.values())])


def _recorded(context: Context, step: Step, kind: type[Output], inputs: str) -> tuple[Output, float] | None:
    """The step's output and seconds as an earlier attempt left them, if all of it can be trusted."""
    with context.database.reading() as session:
        row = session.get(JobStep, (context.lease.job_id, step.value))
    if row is None or digest(row.output) != row.output_sha256 or row.output.get("inputs") != inputs:
        return None
    try:
        output = kind.model_validate(row.output["output"])
        for sha256 in output.blobs():
            context.storage.verify(sha256)
    except (ValidationError, ServiceError, KeyError) as error:
        _log.warning("step.record_refused", step=step.value, error=type(error).__name__)
        return None
    return output, float(row.output["seconds"])


def _record(context: Context, step: Step, inputs: str, started_at: datetime) -> None:
    content: dict[str, Any] = {
        "inputs": inputs,
        "seconds": context.seconds[step.value],
        "output": context.outputs[step].model_dump(mode="json"),
    }

    def write() -> None:
        with context.database.writing() as session:
            hold(session, context.lease)
            context.note_step(session, step, content, started_at)

    patiently(write, at_most=context.settings.lease_ttl)


def _now(context: Context) -> datetime:
    def ask() -> datetime:
        with context.database.reading() as session:
            return database_now(session)

    return patiently(ask, at_most=context.settings.lease_ttl)
