"""The audit: attacks that learn from pairs of shadow models, trained with and then unlearned, or trained without."""

from functools import partial

from app.audit.meanings.meaning import Group, Meaning

_told = partial(Meaning, group=Group.AUDIT)
_EVEN = "0.5 up to chance: retrained and retrained cannot be told apart."
_ULIRA = "the per-example likelihood-ratio attack (U-LiRA) with shadow models"
_RMIA = "the relative membership attack (RMIA) with shadow models"
_CHALLENGE = "the best threshold or window per image, as in the public unlearning challenge"
_FEW = "Above 0: so few models differ by chance; the floor beside it says by how much."

MEANINGS: dict[str, Meaning] = {
    "u_lira_auc": _told(
        title="Per-example attack (U-LiRA), AUC",
        sentence="How often an attacker who knows how each image behaves in many shadow models tells an unlearned "
        "model from one that never saw it; 0.5 is a coin toss.",
        direction="two-sided",
        retrained=_EVEN,
        attack=_ULIRA,
    ),
    "u_lira_balanced_accuracy": _told(
        title="Per-example attack (U-LiRA), share of right guesses",
        sentence="How often this attack guesses right at the threshold zero, which no data have chosen.",
        direction="two-sided",
        retrained=_EVEN,
        attack=_ULIRA,
    ),
    "u_lira_sample_auc_p90": _told(
        title="Per-example attack (U-LiRA), most exposed tenth",
        sentence="The AUC that a tenth of the images exceed: averages hide single images that remain exposed.",
        direction="lower",
        retrained="Above 0.5: the highest tenth of many chance values always is.",
        attack=_ULIRA,
    ),
    "u_lira_sample_auc_max": _told(
        title="Per-example attack (U-LiRA), most exposed image",
        sentence="The highest AUC that the attack with shadow models has on any image.",
        direction="lower",
        retrained="Above 0.5, often 1 with few models: it is the largest of many chance values.",
        attack=_ULIRA,
    ),
    "u_lira_released_auc": _told(
        title="Per-example attack (U-LiRA) on this very model, AUC",
        sentence="The AUC of that attack with this version as the target, not shadow models made like it.",
        direction="two-sided",
        retrained=_EVEN,
        attack=_ULIRA,
    ),
    "rmia_auc": _told(
        title="Relative membership attack (RMIA), AUC",
        sentence="How often an attacker who compares each image with others in shadow models tells an unlearned model "
        "from one that never saw it; 0.5 is a coin toss.",
        direction="two-sided",
        retrained=_EVEN,
        attack=_RMIA,
    ),
    "rmia_released_auc": _told(
        title="Relative membership attack (RMIA) on this very model, AUC",
        sentence="The AUC of that attack with this version as the target, not shadow models made like it.",
        direction="two-sided",
        retrained=_EVEN,
        attack=_RMIA,
    ),
    "klom": _told(
        title="Distance of the margins (KLOM)",
        sentence="KL divergence between the margins that many unlearned and many retrained models give an image, "
        "averaged over the images to be forgotten.",
        direction="lower",
        retrained=_FEW,
    ),
    "klom_median": _told(
        title="Distance of the margins (KLOM), median image",
        sentence="KL divergence between unlearned and retrained models' margins for the image in the middle.",
        direction="lower",
        retrained=_FEW,
    ),
    "klom_p95": _told(
        title="Distance of the margins (KLOM), worst twentieth",
        sentence="KL divergence between unlearned and retrained models' margins that one image in twenty exceeds.",
        direction="lower",
        retrained=_FEW,
    ),
    "klom_floor": _told(
        title="Distance of the margins (KLOM), floor",
        sentence="The divergence between two halves of the retrained models: the best that half as many models allow.",
        direction="none",
        retrained="This is its value.",
    ),
    "klom_excess": _told(
        title="Distance of the margins (KLOM) above the floor",
        sentence="What unlearned models are farther from retrained ones than these are from each other.",
        direction="lower",
        retrained="0 up to chance.",
    ),
    "challenge_epsilon": _told(
        title="Empirical epsilon of the public challenge",
        sentence="The epsilon that the best single attack on each image reaches, averaged over the images to be "
        "forgotten; an estimate from these models and no bound.",
        direction="lower",
        retrained="Above 0: with few models the best of many thresholds separates by chance.",
        attack=_CHALLENGE,
    ),
    "challenge_epsilon_median": _told(
        title="Empirical epsilon of the public challenge, median image",
        sentence="The epsilon that the best single attack reaches on the image in the middle.",
        direction="lower",
        retrained="Above 0: with few models the best of many thresholds separates by chance.",
        attack=_CHALLENGE,
    ),
    "challenge_quality": _told(
        title="Forgetting quality of the public challenge (F)",
        sentence="From 0 to 1, falling by half with every half of an epsilon that an attack reaches on an image.",
        direction="higher",
        retrained="The ceiling that stands beside it: far below 1 with few models.",
        attack=_CHALLENGE,
    ),
    "challenge_quality_ceiling": _told(
        title="Forgetting quality of the public challenge, ceiling",
        sentence="The quality between two halves of the retrained models: the best that half as many models allow.",
        direction="none",
        retrained="This is its value.",
    ),
    "challenge_shortfall": _told(
        title="Forgetting quality below the ceiling",
        sentence="How much lower the quality is than between retrained models.",
        direction="lower",
        retrained="0 up to chance.",
        attack=_CHALLENGE,
    ),
    "challenge_score": _told(
        title="Final score of the public challenge",
        sentence="Forgetting quality times the shares of the retrained models' accuracies, on remaining and on test "
        "images, that are kept.",
        direction="higher",
        retrained="The ceiling of its quality: its accuracies are its own.",
        attack=_CHALLENGE,
    ),
}
