"""What is counted as an image through a network."""

import torch

from benchmarks.controls.timing import counted
from models_store.convnets import SmallConvNet
from tests.fixtures.small_models import normal


def test_each_image_counts_once_for_each_network_and_training_step_and_nothing_counts_later() -> None:
    models = [SmallConvNet(10).eval(), SmallConvNet(10).eval()]
    with counted(channels=1) as sizes:
        for model in models:
            model(normal(5, 1, 8, 8))
        models[0](normal(3, 1, 8, 8)).sum().backward()
        models[1].get_submodule("classifier.fc2")(torch.zeros(7, 96))
    models[0](normal(2, 1, 8, 8))
    assert sizes == [5, 5, 3]
