"""Where everything stands in an evidence bundle of format `expunge-evidence/1`; see docs/evidence.md."""

BUNDLE_FORMAT = "expunge-evidence/1"
INDEX_TYPE = "application/vnd.expunge.evidence+json"
INDEX = "index.dsse.json"
"""The signed list of all other files with their digests."""
README = "README.txt"
VERIFIER = "verify_evidence.py"
SUBMITTED, RECEIPT = "request.json", "receipt.json"
CHECKPOINT_FILE, EARLIER_FILE = "ledger/checkpoint.txt", "ledger/checkpoint-before.txt"
PROOFS_FILE, GROWTH_FILE = "ledger/inclusion.json", "ledger/consistency.json"
MANIFEST, VERDICT, POLICY = "manifest.json", "verdict.json", "policy.json"
RESULTS_FILE, ENVIRONMENT = "results.json", "environment.json"
MODEL_SIG = "attestations/model.sig"


def entry_file(index: int) -> str:
    """The file with the bytes of a ledger entry."""
    return f"ledger/entries/{index:012d}.json"


def attestation_file(kind: str) -> str:
    """The file with an attestation."""
    return MODEL_SIG if kind == "model.sig" else f"attestations/{kind}.dsse.json"
