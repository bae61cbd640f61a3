"""The paper's update and this repository's own methods, as `comparison` runs them, behind the same signature."""

import torch
from torch import nn

from benchmarks.baselines.controls import Nothing
from benchmarks.baselines.method import Classes, Data, on_a_copy
from benchmarks.comparison import methods
from benchmarks.comparison.data import Request
from unlearning.evaluation import predict_logits
from unlearning.tuning import DEPTHS


@on_a_copy
def paper_published(model: nn.Module, data: Data, classes: Classes, _settings: Nothing, seed: int) -> nn.Module:
    """The paper's update of all layers with its published alphas."""
    return methods.paper_published(_request(model, data, classes, seed))


@on_a_copy
def paper_chosen(model: nn.Module, data: Data, classes: Classes, _settings: Nothing, seed: int) -> nn.Module:
    """The same with alphas chosen on training images set aside."""
    return methods.paper_chosen(_request(model, data, classes, seed))


@on_a_copy
def refit(model: nn.Module, data: Data, classes: Classes, _settings: Nothing, seed: int) -> nn.Module:
    """The last layers refitted, as deep as the images set aside allow."""
    return methods.refit(_request(model, data, classes, seed))


@on_a_copy
def auto(model: nn.Module, data: Data, classes: Classes, _settings: Nothing, seed: int) -> nn.Module:
    """The service's default: the refit; if it breaks a limit on images set aside, the better of it and the paper's."""
    request = _request(model, data, classes, seed)
    deepening = methods.deepened(request)
    erasure = deepening.erasure
    if not deepening.is_good:
        projected, score = methods.chosen(request, depths=DEPTHS)
        if score > deepening.best.judgement.score:
            erasure = projected
    return methods.edited(request.model, erasure)


def _request(model: nn.Module, data: Data, classes: Classes, seed: int) -> Request:
    with torch.no_grad():
        num_classes = predict_logits(model, data.inputs[:1]).shape[1]
    return Request(model.eval(), data.inputs, data.labels.numpy(), classes, (), seed, num_classes)
