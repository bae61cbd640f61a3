"""What the store refuses, by name; each message is a sentence with what was expected and what came."""

from core.errors import Invalid, NotFound


class MalformedDigest(Invalid):
    """A digest must be 64 lower-case hexadecimal digits."""

    slug = "malformed-digest"
    title = "Not a SHA-256 digest"


class UnknownBlob(NotFound):
    """No stored bytes have this digest."""

    slug = "unknown-blob"
    title = "No such stored bytes"


class MalformedWeights(Invalid):
    """The file is not a safetensors file, or not one that every reader understands alike."""

    slug = "malformed-weights"
    title = "The weights are not a well-formed safetensors file"


class WeightsDoNotFit(Invalid):
    """The tensors are not those of the architecture; `missing`, `unexpected`, `mismatched` list every one."""

    slug = "weights-do-not-fit"
    title = "The weights do not fit the architecture"


class NonFiniteWeights(Invalid):
    """A tensor holds NaN or infinity."""

    slug = "non-finite-weights"
    title = "The weights are not finite"


class InputDoesNotFit(Invalid):
    """The architecture cannot take images of the size in the input spec."""

    slug = "input-does-not-fit"
    title = "The input spec does not fit the architecture"


class UnknownArchitecture(Invalid):
    """The architecture is not in the catalogue."""

    slug = "unknown-architecture"
    title = "Unknown architecture"


class InvalidArchitectureOption(Invalid):
    """An option is not one of this architecture, or is out of its bounds."""

    slug = "invalid-architecture-option"
    title = "Invalid architecture option"


class MalformedDataset(Invalid):
    """The data set cannot be read as splits of labelled images."""

    slug = "malformed-dataset"
    title = "The data set cannot be read"
    quotes_input = True


class UnsafeArchive(MalformedDataset):
    """The archive holds something that has no place in a set of images: links, escapes, overlaps, encryption."""

    slug = "unsafe-archive"
    title = "The archive is refused"


class ArchiveOverLimit(UnsafeArchive):
    """The archive has more members, more bytes or a higher compression ratio than is allowed."""

    slug = "archive-over-limit"
    title = "The archive is over a limit"


class UnknownDatasetLabel(Invalid):
    """The data set names a label that the model does not have."""

    slug = "unknown-dataset-label"
    title = "The data set has a label the model lacks"
    quotes_input = True
