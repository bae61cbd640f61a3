"""What an epoch shows the network: every image once, varied within bounds, and the same again for the same seed."""

import numpy as np
import torch

from models_store.normalise import normalise
from models_store.recipes import Augmentation
from tests.unit.worker.retraining.conftest import CPU, SPEC, Halves, recipe
from worker.retraining.chance import LAYERS, generator, seeded_layers
from worker.retraining.epochs import batches_of, num_batches, varied


def shown(halves: Halves, seed: int, epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(batches_of(halves.train, recipe(), seed, epoch, CPU))


def test_an_epoch_holds_every_image_once_with_its_label(halves: Halves) -> None:
    inputs, labels = (torch.cat(part) for part in zip(*shown(halves, 0, 1), strict=True))
    whole = normalise(halves.train.pixels.x, SPEC)
    order = torch.from_numpy(generator(0, 2, 1).permutation(len(whole)))
    assert torch.equal(inputs, whole[order])
    assert torch.equal(labels, torch.from_numpy(halves.train.labels)[order])


def test_batches_differ_in_size_by_one_at_most_and_none_holds_a_single_image(halves: Halves) -> None:
    for count in (2, 8, 9, 17, 65, 129, 700):
        images = halves.train.subset(np.arange(count))
        for batch_size in (8, 64):
            how = recipe(batch_size=batch_size)
            sizes = [len(labels) for _, labels in batches_of(images, how, 0, 1, CPU)]
            assert sum(sizes) == count
            assert len(sizes) == num_batches(count, how)
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) >= 2
            assert max(sizes) <= batch_size


def test_the_order_follows_from_seed_and_epoch(halves: Halves) -> None:
    first = shown(halves, 0, 1)[0][1]
    assert torch.equal(first, shown(halves, 0, 1)[0][1])
    assert not torch.equal(first, shown(halves, 0, 2)[0][1])
    assert not torch.equal(first, shown(halves, 1, 1)[0][1])


def test_nothing_is_varied_unless_the_recipe_says_so(halves: Halves) -> None:
    pixels = halves.train.pixels.x[:20]
    assert np.array_equal(varied(pixels, Augmentation(), np.random.default_rng(0)), pixels)


def test_a_crop_is_the_image_moved_over_black_and_each_way_occurs(halves: Halves) -> None:
    image = halves.train.pixels.x[:1]
    moved = varied(np.repeat(image, 400, axis=0), Augmentation(crop_padding=1), np.random.default_rng(0))
    framed = np.zeros((10, 10, 1), dtype=np.uint8)
    framed[1:9, 1:9] = image[0]
    ways = [framed[top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    counts = [sum(np.array_equal(way, one) for one in moved) for way in ways]
    assert sum(counts) == 400
    assert min(counts) > 15


def test_a_flip_mirrors_about_half_of_the_images(halves: Halves) -> None:
    image = halves.train.pixels.x[:1]
    found = varied(np.repeat(image, 400, axis=0), Augmentation(flip=True), np.random.default_rng(0))
    mirrored = sum(np.array_equal(one, image[0, :, ::-1]) for one in found)
    assert mirrored + sum(np.array_equal(one, image[0]) for one in found) == 400
    assert 150 < mirrored < 250


def test_layers_draw_what_follows_from_the_seed_and_the_global_generator_is_given_back() -> None:
    before = torch.get_rng_state()
    drawn = []
    for seed, epoch in ((1, 1), (1, 1), (1, 2), (2, 1)):
        with seeded_layers(CPU, seed, LAYERS, epoch):
            drawn.append(torch.nn.functional.dropout(torch.ones(64)))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[3])
