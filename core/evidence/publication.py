"""What a bundle shows of the published version: manifest, verdict, attestations and the signature of the weights."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from core.evidence.layout import ENVIRONMENT, MANIFEST, MODEL_SIG, POLICY, VERDICT, attestation_file
from core.evidence.opening import Bundle, moment_of
from core.evidence.statements import (
    CLASS_UNLEARNING,
    IN_TOTO_TYPE,
    MODEL_SIGNATURE,
    RESULTS,
    STATEMENT,
    SUMMARY,
    TEST_RESULT,
    bound_name,
    properties_of,
)
from core.evidence.trust import Trust
from core.evidence.verdicts import faults_of
from core.ledger.export import Finding, right, undecided, wrong

PREDICATES = {"class-unlearning": CLASS_UNLEARNING, "test-result": TEST_RESULT, "svr": SUMMARY}


def check_verdict(bundle: Bundle, trust: Trust) -> Iterator[Finding]:  # noqa: ARG001 every check takes both
    """The verdict: bound to the ledger, and recomputed from the measures and the policy."""
    last = bundle.transition("published") or bundle.transition("rejected")
    if last is None or VERDICT not in bundle.files:
        yield right("Not checked: a verdict; none was reached.")
        return
    number, leaf = last
    stated, verdict, policy = leaf["data"], bundle.read(VERDICT), bundle.read(POLICY)
    if stated.get("verdict_sha256", digest_of(bundle, VERDICT)) != digest_of(bundle, VERDICT):
        yield wrong(f"The verdict in the bundle is not the one of entry {number}.")
    faults = list(faults_of(verdict, policy))
    yield from map(wrong, faults)
    if (stated["verdict"], stated["policy"]) != (verdict["outcome"], f"{policy['name']}/{policy['version']}"):
        yield wrong(f"Entry {number} states another verdict or policy than the bundle.")
    values = {test["name"]: test["value"] for test in verdict["tests"]}
    for name, value in stated.get("measures", {}).items():
        if values.get(name) is None or f"{values[name]:.6f}" != value:
            yield wrong(f"Entry {number} states {value} for {name}; the verdict in the bundle says otherwise.")
    if not faults:
        yield right(
            f"The verdict {verdict['outcome']!r} follows from the {len(policy['deciding'])} deciding measures and the "
            f"policy {policy['name']}/{policy['version']}; it was computed again here."
        )
        margins = ", ".join(bound_name(name, margin) for name, margin in sorted(policy["deciding"].items()))
        yield right(f"The policy in the bundle decides by: {margins}.")
    is_overridden = stated.get("overridden") is True
    if leaf["to"] == "published" and verdict["outcome"] != "pass":
        if is_overridden and any(one["type"] == "request.overridden" for one in bundle.leaves.values()):
            yield right(f"It was published although the verdict is {verdict['outcome']!r}: somebody overrode it.")
        else:
            yield wrong(f"It was published although the verdict is {verdict['outcome']!r} and nobody overrode it.")


def check_manifest(bundle: Bundle, trust: Trust) -> Iterator[Finding]:
    """The manifest: bound to the entry of the publication, naming parent and child weights."""
    published = bundle.transition("published")
    if published is None:
        if trust.weights_sha256 is not None:
            yield undecided("Cannot be decided: what the weights are; the request published none.")
        return
    number, leaf = published
    manifest, stated = bundle.read(MANIFEST), leaf["data"]
    found = {
        "manifest": (stated["manifest_sha256"], digest_of(bundle, MANIFEST)),
        "digest of the weights": (stated["sha256"], manifest["sha256"]),
        "verdict": (manifest["verdict_sha256"], digest_of(bundle, VERDICT)),
        "list of classes": (stated.get("classes", []), manifest["classes"]),
        "request": (bundle.request, manifest["job"]),
        "environment": (bundle.read(ENVIRONMENT)["environment"], manifest["environment"]),
    }
    faults = [name for name, (one, other) in found.items() if one != other]
    yield from (wrong(f"The {name} in the bundle is not the one that entry {number} is about.") for name in faults)
    if not faults:
        yield right(
            f"Entry {number} is of the publication of version {stated['version']}: weights {manifest['sha256']} made "
            f"from {manifest['parent_sha256']}."
        )
    yield from _weights(trust.weights_sha256, manifest)


def check_attestations(bundle: Bundle, trust: Trust) -> Iterator[Finding]:  # noqa: ARG001 every check takes both
    """The three statements and the model signature: bytes as the ledger has them, signed, and saying what it says."""
    attested = [leaf for leaf in bundle.leaves.values() if leaf["type"] == "version.attested"]
    if bundle.transition("published") is None:
        return
    if not attested:
        yield right("Not checked: attestations; none were signed.")
        return
    entry = attested[-1]
    for kind, digest in sorted(entry["data"]["sha256"].items()):
        if digest_of(bundle, attestation_file(kind)) != digest:
            yield wrong(f"The attestation {kind} is not the one whose digest entry {entry['seq']} has.")
    manifest, verdict = bundle.read(MANIFEST), bundle.read(VERDICT)
    expected = _expected(bundle, manifest, verdict)
    for kind, predicate_type in PREDICATES.items():
        made = bundle.signed(attestation_file(kind), IN_TOTO_TYPE, "statement", moment_of(entry))
        subject = [one["digest"] for one in made["subject"]]
        stated = {name: _at(made["predicate"], name) for name in expected[kind]}
        same = (made["_type"], made["predicateType"], subject) == (
            STATEMENT,
            predicate_type,
            [{"sha256": manifest["sha256"]}],
        )
        if same and stated == expected[kind]:
            yield right(f"The attestation {kind} is signed and says of these weights what the ledger says.")
        else:
            yield wrong(f"The attestation {kind} says something else than the ledger.")
    yield _model_signature(bundle, manifest, entry)


def digest_of(bundle: Bundle, name: str) -> str:
    """SHA-256 of a file, hex; of nothing if it is missing."""
    return sha256(bundle.files.get(name, b"")).hexdigest()


def _expected(bundle: Bundle, manifest: Mapping[str, Any], verdict: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each statement must say, by paths into its predicate."""
    published = bundle.transition("published")
    number, leaf = published if published is not None else (0, {"data": {}})
    named: dict[str, list[str]] = {outcome: [] for outcome in RESULTS}
    for test in verdict["tests"]:
        if test["deciding"]:
            named[test["outcome"]].append(bound_name(test["name"], test["margin"]))
    policy = {"sha256": digest_of(bundle, POLICY)}
    is_overridden = leaf["data"].get("overridden") is True
    properties = properties_of(is_passed=verdict["outcome"] == "pass", is_overridden=is_overridden)
    return {
        "class-unlearning": {
            "request.id": bundle.request,
            "base.digest.sha256": manifest["parent_sha256"],
            "classes": manifest["classes"],
            "manifest.digest.sha256": digest_of(bundle, MANIFEST),
            "log.index": number,
            "log.leafHash": bundle.hashes[number].hex(),
        },
        "test-result": {
            "result": RESULTS[verdict["outcome"]],
            "passedTests": named["pass"],
            "warnedTests": named["inconclusive"],
            "failedTests": named["fail"],
            "configuration.0.digest": policy,
        },
        "svr": {"properties": properties, "verifier.policies.0.digest": policy},
    }


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def _model_signature(bundle: Bundle, manifest: Mapping[str, Any], entry: Mapping[str, Any]) -> Finding:
    made = bundle.signed(MODEL_SIG, IN_TOTO_TYPE, "model", moment_of(entry), inner="dsseEnvelope")
    resources = made["predicate"]["resources"]
    whole = sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources)).hexdigest()
    digests = [one["digest"] for one in resources]
    same = made["predicateType"] == MODEL_SIGNATURE and digests == [manifest["sha256"]]
    if same and made["subject"][0]["digest"]["sha256"] == whole:
        return right(f"The model signature is for these weights under the name {resources[0]['name']}.")
    return wrong("The model signature is for other weights.")


def _weights(digest: str | None, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    if digest is None:
        yield right("Not checked: the weights themselves; compare a file with --weights.")
    elif digest == manifest["sha256"]:
        yield right("The weights at hand are those of the published version.")
    elif digest == manifest["parent_sha256"]:
        yield wrong("The weights at hand are those from before the deletion: they still hold the classes.")
    else:
        yield wrong(f"The weights at hand are others: their digest is {digest}.")
