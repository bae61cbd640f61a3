"""What a bundle shows of the request: its way through the states, its receipt, and how the ledger grew."""

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256

from core.evidence.layout import EARLIER_FILE, GROWTH_FILE, RECEIPT, SUBMITTED
from core.evidence.opening import Bundle, ends_of, moment_of
from core.evidence.trust import Trust
from core.ledger.checkpoints import open_checkpoint
from core.ledger.export import Finding, right, undecided, wrong
from core.ledger.proofs import is_consistent
from core.ledger.receipts import PAYLOAD_TYPE
from core.signing.notes import COSIGNATURE

MAIN_ENTRIES = ("request.accepted", "request.transition", "version.attested")
"""Kinds of entries that other sentences are about."""


def check_signature(bundle: Bundle, trust: Trust) -> Iterator[Finding]:
    """Who signed the checkpoint, whether their time was over, and whether the bundle is about what was asked."""
    signed, signers = bundle.checkpoint.checkpoint, bundle.checkpoint.signers
    names = ", ".join(key.name for key in signers)
    yield right(
        f"The ledger {signed.origin} of {signed.size} entries with root {signed.root.hex()} is signed by {names}."
    )
    for key, until in ends_of(bundle):
        yield wrong(
            f"The key {key.name} signed until {until:%Y-%m-%d %H:%M}, but the ledger it signs here goes on after that; "
            "pin the key that came after it."
        )
    if any(key.kind == COSIGNATURE for key in signers):
        yield right("A witness that was pinned saw the same ledger.")
    if trust.request_id is not None and trust.request_id != bundle.request:
        yield wrong(f"The bundle is for another request: {bundle.request}, not {trust.request_id}.")
    count = len(bundle.leaves)
    yield right(f"All {count} entries about request {bundle.request} in this bundle are in the ledger that was signed.")
    yield right(f"All {len(bundle.files) - 1} other files are those that the service put into the bundle.")


def check_states(bundle: Bundle, trust: Trust) -> Iterator[Finding]:  # noqa: ARG001 every check takes both
    """The way through the states: it begins with the acceptance, and each step begins where the one before ended."""
    leaves = [bundle.leaves[number] for number in sorted(bundle.leaves)]
    first = leaves[0]
    if first["type"] != "request.accepted":
        yield wrong("The first entry about the request is not its acceptance: one is missing from the bundle.")
        return
    state = first["to"]
    for leaf in leaves[1:]:
        if leaf["type"] != "request.transition":
            continue
        if leaf["from"] != state:
            told = f"Entry {leaf['seq']} leads out of {leaf['from']!r}, but the request was {state!r}"
            yield wrong(f"{told}: an entry is missing.")
            return
        state = leaf["to"]
    if state != bundle.state:
        yield wrong(f"The bundle says that the request is {bundle.state!r}; its entries lead to {state!r}.")
        return
    asked, last = moment_of(first), moment_of(leaves[-1])
    yield right(
        f"It was accepted at {asked:%Y-%m-%d %H:%M:%S} UTC as entry {first['seq']} and is {state}; the newest entry is "
        f"of {last:%Y-%m-%d %H:%M:%S} UTC."
    )


def check_others(bundle: Bundle, trust: Trust) -> Iterator[Finding]:  # noqa: ARG001 every check takes both
    """What else the ledger tells of the request, by kind: quarantines, replays, recalls, destroyed keys."""
    others = Counter(leaf["type"] for leaf in bundle.leaves.values() if leaf["type"] not in MAIN_ENTRIES)
    if others:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        yield right(f"The entries also tell of: {told}.")


def check_receipt(bundle: Bundle, trust: Trust) -> Iterator[Finding]:
    """The receipt, if the bundle has one: this request, this entry, these bytes."""
    if RECEIPT not in bundle.files:
        if SUBMITTED in bundle.files:
            yield right("Not checked: whether the request in the bundle is the one that was sent; it has no receipt.")
        else:
            yield right("Not checked: request and receipt as they were sent; they are not in the bundle.")
        return
    accepted = bundle.leaves[min(bundle.leaves)]
    facts = bundle.signed(RECEIPT, PAYLOAD_TYPE, "statement", moment_of(accepted))
    stated = (facts["request"], facts["index"], facts["received_at"], facts["leaf_hash"])
    number = accepted["seq"]
    if stated != (bundle.request, number, accepted["ts"], bundle.hashes[number].hex()):
        yield wrong("The receipt is for another request, or for another entry than the acceptance in the ledger.")
        return
    yield right("The receipt names this request and the entry of its acceptance.")
    for body in (bundle.files.get(SUBMITTED), trust.request):
        if body is not None and sha256(body).hexdigest() != facts["request_sha256"]:
            yield wrong("The receipt is for another request: the digest of what was sent differs.")
            return
    if SUBMITTED in bundle.files:
        yield right("The request in the bundle is, byte for byte, the one for which the receipt was given.")


def check_growth(bundle: Bundle, trust: Trust) -> Iterator[Finding]:
    """That the ledger only grew: from the checkpoint before the request, and from each one kept by the verifier."""
    signed = bundle.checkpoint.checkpoint
    # Earlier checkpoints may be of earlier keys, which the ledger announces.
    keys = [*bundle.pinned, *(one.key for one in bundle.announced if one.use == "checkpoint")]
    old, root, proof = None, b"", list[bytes]()
    if GROWTH_FILE in bundle.files:
        growth = bundle.read(GROWTH_FILE)
        old, proof = growth["old"], [bytes.fromhex(one) for one in growth["hashes"]]
        root = bytes.fromhex(growth["old_root"])
        if not is_consistent(old, signed.size, root, signed.root, proof):
            yield wrong(f"The ledger of {old} entries is not shown to be the beginning of that of {signed.size}.")
            return
    if EARLIER_FILE in bundle.files:
        earlier = open_checkpoint(bundle.files[EARLIER_FILE].decode(), keys).checkpoint
        if old is None or (earlier.size, earlier.root) != (old, root):
            yield wrong(
                "The earlier checkpoint in the bundle is not the one from which the ledger is shown to have grown."
            )
            return
        yield right(f"The ledger of {signed.size} entries begins with the {old} entries that were signed earlier.")
    for note in trust.checkpoints:
        kept = open_checkpoint(note, keys).checkpoint
        if kept.size == signed.size:
            same = kept.root == signed.root
            yield (
                right("It is the ledger of the checkpoint that was kept.")
                if same
                else wrong(f"Two different ledgers of {kept.size} entries were signed: this is a split view.")
            )
        elif kept.size == old:
            holds = is_consistent(old, signed.size, kept.root, signed.root, proof)
            yield (
                right(f"The {old} entries of the checkpoint that was kept are its beginning.")
                if holds
                else wrong(
                    f"The first {old} entries are not those of the checkpoint that was kept: history was rewritten."
                )
            )
        else:
            yield undecided(
                f"Cannot be decided: whether the ledger grew from the checkpoint of {kept.size} entries that was kept. "
                f"Fetch the bundle again with ?since={kept.size}; it then holds the proof."
            )
