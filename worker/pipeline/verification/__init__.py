"""Measuring an unlearned network beside its original and, where there is one, beside a retrained reference.

    scene        what was deleted, and which images are looked at
    passes       one network over the images: no image twice, and none before it is needed
    subject      one network, and what it says about them
    outputs      what is measured of every network by its outputs and its last layer
    attacks      what brings the classes back from a network
    comparisons  what is measured of the unlearned network beside the original
    references   what is measured of it beside the reference
    curves       what is drawn
    labels       whether the data set's labels are those that the original learned
    findings     measures as they come in; whatever goes wrong in one of them stays its own
    examination  all of it, or the tests of a policy alone

Nothing here knows a database, a lease or a store, so that the self-test of the gate runs what the worker runs.
"""

from worker.pipeline.verification.examination import Case, Examined, decide, evidence_of, examine
from worker.pipeline.verification.findings import BEYOND_RECOVERY
from worker.pipeline.verification.scene import Deletion, Looked, Scene
from worker.pipeline.verification.subject import Subject

__all__ = [
    "BEYOND_RECOVERY",
    "Case",
    "Deletion",
    "Examined",
    "Looked",
    "Scene",
    "Subject",
    "decide",
    "evidence_of",
    "examine",
]
