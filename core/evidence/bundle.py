"""What an evidence bundle proves to somebody who has nothing but a pinned key, sentence by sentence."""

from collections.abc import Callable, Iterator

from core.evidence.archive import BadArchive, unpack
from core.evidence.history import check_growth, check_others, check_receipt, check_signature, check_states
from core.evidence.opening import BadBundle, Bundle, open_bundle
from core.evidence.publication import check_attestations, check_manifest, check_verdict
from core.evidence.trust import Trust
from core.ledger.export import Finding, right, wrong
from core.signing.dsse import BadEnvelope
from core.signing.notes import BadNote

CHECKS: tuple[Callable[[Bundle, Trust], Iterator[Finding]], ...] = (
    check_signature,
    check_states,
    check_others,
    check_receipt,
    check_growth,
    check_verdict,
    check_manifest,
    check_attestations,
)

UNKNOWABLE = (
    "whether there are more entries about the request, after the newest one here or left out; an export of the whole "
    "ledger shows them.",
    "whether the same ledger is shown to others; a checkpoint that somebody else kept, or a witness, shows that.",
    "whether the measures were made as they say; whoever has weights, images and code can make them again.",
    "whether a policy is the one that was agreed upon; its margins are in policy.json, and told above.",
    "whether copies of the weights or images from before lie anywhere else.",
    "which classes and whom the commitments mean; only the holder of the request's key can tell, while it exists.",
    "what the report says beyond what was checked above; it is the service's own account, unchanged.",
)


def check_bundle(content: bytes, trust: Trust) -> list[Finding]:
    """Everything that can be said of a bundle; never raises on bad content."""
    try:
        bundle = open_bundle(unpack(content), tuple(trust.keys))
    except (BadArchive, BadBundle) as error:
        return [wrong(str(error)), right("Not checked: anything else in the bundle, since this came first.")]
    except _MALFORMED as error:
        sentence = f"The bundle's list of files or its entries are not as the format has them ({type(error).__name__})."
        return [wrong(sentence)]
    findings = [finding for check in CHECKS for finding in _told(check, bundle, trust)]
    return findings + [right(f"Cannot be known from this: {one}") for one in UNKNOWABLE]


_MALFORMED = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError)


def _told(check: Callable[[Bundle, Trust], Iterator[Finding]], bundle: Bundle, trust: Trust) -> list[Finding]:
    found: list[Finding] = []
    try:
        # Not a list at once: what was found before a break is kept.
        found.extend(check(bundle, trust))
    except (BadBundle, BadNote, BadEnvelope) as error:
        found.append(wrong(str(error)))
    except _MALFORMED as error:
        what = check.__name__.removeprefix("check_")
        found.append(wrong(f"What the bundle says of its {what} is not as the format has it ({type(error).__name__})."))
    return found
