"""Models of many families: random weights, settled activations, the smallest image that each can be built for."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

SAMPLES = 3
SIZES = (32, 56, 64, 96, 128, 224, 299)

# Options that let a builder take small inputs; the others need none, or take their own size only.
TORCHVISION: dict[str, Callable[[int], dict[str, Any]]] = {
    "vit": lambda size: {"image_size": size},
    "maxvit": lambda size: {"input_size": (size, size)},
    "inception": lambda _: {"init_weights": False},
    "googlenet": lambda _: {"init_weights": False},
}
TIMM: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"img_size": 64},
    "vit_base_patch16_siglip_224": {"img_size": 64},
    "deit3_small_patch16_224": {"img_size": 64},
    "beit_base_patch16_224": {"img_size": 64},
    "eva02_tiny_patch14_224": {"img_size": 56},
    "cait_xxs24_224": {"img_size": 64},
    "xcit_nano_12_p16_224": {"img_size": 64},
    "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 2},
    "mixer_s32_224": {"img_size": 64},
    "gmlp_s16_224": {"img_size": 64},
    "convnext_atto": {},
    "efficientnet_lite0": {},
    "mobilenetv4_conv_small": {},
    "mobilevit_xxs": {},
    "regnetx_002": {},
    "poolformer_s12": {},
    "sequencer2d_s": {"img_size": 64},
    "resnetv2_50x1_bit": {},
}


def names() -> list[str]:
    """Return all models of the table."""
    has_timm = importlib.util.find_spec("timm") is not None
    timm_names = [f"timm/{name}" for name in TIMM] if has_timm else []
    return [*torchvision.models.list_models(module=torchvision.models), *timm_names]


def built(name: str) -> tuple[nn.Module, int]:
    """Return the model in evaluation mode, and the smallest size of image with which it can be built and run."""
    library, _, plain = name.rpartition("/")
    for size in SIZES if not library else (TIMM[plain].get("img_size", 64), 224):
        try:
            with seeded():
                model = _timm(plain) if library else _torchvision(plain, size)
            with torch.no_grad():
                model.eval()(images(size, seed=0))
        except (RuntimeError, ValueError, AssertionError, ZeroDivisionError):
            continue
        return model, size
    raise RuntimeError(f"{name} runs with none of the sizes")


def _torchvision(name: str, size: int) -> nn.Module:
    options = next((make(size) for prefix, make in TORCHVISION.items() if name.startswith(prefix)), {})
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return model


def _timm(name: str) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, **TIMM[name])
    return model


@contextmanager
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        yield


def settle(model: nn.Module, x: Tensor) -> None:
    """Let batch normalisation see the images: the activations of deep random networks grow or die without it."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001 - no public common class
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        model(x)
    model.eval()


def images(size: int, seed: int) -> Tensor:
    return torch.randn(SAMPLES, 3, size, size, generator=torch.Generator().manual_seed(seed))


def timm_version() -> str:
    if importlib.util.find_spec("timm") is None:
        return ""
    import timm

    return f", timm {timm.__version__}"
