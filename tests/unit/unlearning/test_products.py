"""Matrix products with parameters are found wherever they happen, and every other parameter has a true reason.

The oracle is the product itself: what a layer's rows give when they are multiplied with its matrix must be what the
model computes at that place. Where that is not visible, the null space tells: a change of the matrix along a direction
that none of its rows has cannot change the model's outputs, and one along a row must.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils import parametrizations

from tests.fixtures.small_models import normal, seeded
from unlearning.capture import Captured, capture, in_pieces
from unlearning.inventory import Layer, assemble, read_rows


def captured(model: nn.Module, *batches: Tensor, **options: Any) -> tuple[Captured, dict[str, Tensor]]:
    """Return what was captured, and all rows (n, groups, d) by layer."""
    rows: dict[str, list[Tensor]] = {}
    sink = in_pieces(lambda layer, part: rows.setdefault(layer.weight, []).append(part.clone()))
    found = capture(model, batches, sink, **options)
    return found, {name: torch.cat(parts) for name, parts in rows.items()}


def multiplied(model: nn.Module, layer: Layer, rows: Tensor) -> Tensor:
    """Return the products of rows and matrix, (n, m)."""
    return torch.einsum("ngd,gmd->ngm", rows, read_rows(model, layer)).flatten(1)


def outputs_with(model: nn.Module, layer: Layer, change: Tensor, x: Tensor) -> Tensor:
    """Return the model's outputs after its matrix was changed."""
    weights = assemble(model, {layer.weight: read_rows(model, layer) + change}, [layer])
    with torch.no_grad():
        y: Tensor = functional_call(model, weights, (x,))
    return y


def assert_rows_span_the_inputs(model: nn.Module, layer: Layer, rows: Tensor, x: Tensor) -> None:
    """Compare outputs before and after changes outside and inside the span of the rows, one group at a time."""
    with torch.no_grad():
        before = model(x)
    for group in range(layer.groups):
        own = rows[:, group].double()
        _, values, right = torch.linalg.svd(own, full_matrices=True)
        rank = int((values > 1e-9 * values[0]).sum())
        change = torch.zeros(layer.shape, dtype=torch.float64)
        # Not the same for every output: a layer norm would take that out again.
        uneven = torch.arange(1.0, layer.shape[1] + 1, dtype=torch.float64)[:, None].sin()
        change[group] = uneven * right[0]
        assert not torch.allclose(outputs_with(model, layer, change, x), before)
        if rank < layer.d:
            change[group] = 10 * uneven * right[-1]
            torch.testing.assert_close(outputs_with(model, layer, change, x), before)


class Functional(nn.Module):
    """Applies parameters by functions, never by a module; `apply` says how."""

    def __init__(self, apply: Callable[[Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*shape))
        self._apply_weight = apply

    def forward(self, x: Tensor) -> Tensor:
        return self._apply_weight(x, self.weight)


X = (4, 5, 6)
FUNCTIONS: dict[
    str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], tuple[int, ...], tuple[int, int, int]]
] = {
    "linear": (functional.linear, (3, 6), X, (1, 3, 6)),
    "matmul with inputs first": (lambda x, w: x @ w, (6, 3), X, (1, 3, 6)),
    "matmul from the left": (lambda x, w: w @ x, (3, 5), X, (1, 3, 5)),
    "matmul of two dimensions": (lambda x, w: x @ w, (6, 3), (4, 6), (1, 3, 6)),
    "a vector": (lambda x, w: x @ w, (6,), X, (1, 1, 6)),
    "einsum": (lambda x, w: torch.einsum("bnd,dm->bmn", x, w), (6, 3), X, (1, 3, 6)),
    "einsum over heads": (lambda x, w: torch.einsum("bnd,hdm->bhnm", x, w), (2, 6, 3), X, (1, 6, 6)),
    "einsum with a matrix per head": (lambda x, w: torch.einsum("bhd,hdm->bhm", x, w), (5, 6, 3), X, (5, 3, 6)),
    "matmul with a matrix per head": (lambda x, w: x[:, :, None] @ w, (5, 6, 3), X, (5, 3, 6)),
    "batched from the left": (lambda x, w: w @ x[..., None], (5, 3, 6), X, (5, 3, 6)),
    "two contracted dimensions": (lambda x, w: torch.einsum("bnd,mnd->bm", x, w), (3, 5, 6), X, (1, 3, 30)),
    "reshaped": (lambda x, w: functional.linear(x, w.view(3, 6)), (18,), X, (1, 3, 6)),
    "cast": (lambda x, w: functional.linear(x.double(), w.double()), (3, 6), X, (1, 3, 6)),
    "copied": (lambda x, w: x @ w.t().contiguous(), (3, 6), X, (1, 3, 6)),
    "in inference mode": (torch.inference_mode()(functional.linear), (3, 6), X, (1, 3, 6)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bare_parameters_are_found_where_they_are_multiplied(name: str) -> None:
    apply, shape, inputs, expected = FUNCTIONS[name]
    model, x = seeded(Functional(apply, *shape)).double(), normal(*inputs).double()
    found, rows = captured(model, x)
    (layer,) = found.layers
    assert (layer.weight, layer.shape, found.untouched) == ("weight", expected, ())
    assert_rows_span_the_inputs(model, layer, rows["weight"], x)
    products, outputs = multiplied(model, layer, rows["weight"]), model(x)
    torch.testing.assert_close(products.flatten().sort().values, outputs.flatten().sort().values)


def last(module: nn.Conv2d) -> nn.Conv2d:
    module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return module


CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "one axis": (lambda: nn.Conv1d(4, 6, 3, padding=1, groups=2), (3, 4, 7)),
    "three axes": (lambda: nn.Conv3d(2, 3, 2, padding=(1, 0, 1), stride=(1, 2, 1)), (3, 2, 4, 5, 3)),
    "same padding, uneven": (lambda: nn.Conv2d(4, 6, (4, 2), padding="same"), (3, 4, 5, 7)),
    "reflected": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (3, 4, 5, 7)),
    "circular": (lambda: nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular"), (3, 4, 5, 7)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4), (3, 4, 5, 7)),
    "channels last": (lambda: last(nn.Conv2d(4, 6, 3)), (3, 4, 5, 7)),
    "frozen": (lambda: nn.Conv2d(4, 6, 3).requires_grad_(requires_grad=False), (3, 4, 5, 7)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_all_kinds_are_found(name: str) -> None:
    make, inputs = CONVOLUTIONS[name]
    model, x = seeded(make()).double(), normal(*inputs).double()
    found, rows = captured(model, x)
    (layer,) = found.layers
    outputs = model(x).detach().movedim(1, -1).flatten(0, -2) - model.get_parameter("bias")
    torch.testing.assert_close(multiplied(model, layer, rows["weight"]), outputs)
    same = assemble(model, {"weight": read_rows(model, layer)}, [layer])["weight"]
    assert torch.equal(same, model.get_parameter("weight"))
    assert same.stride() == model.get_parameter("weight").stride()


def test_a_transposed_convolution_multiplies_pixels() -> None:
    model, x = seeded(nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)).double(), normal(2, 8, 1, 2).double()
    found, rows = captured(model, x)
    assert found.layers[0].shape == (2, 12, 4)
    assert_rows_span_the_inputs(model, found.layers[0], rows["weight"], x)
    products = multiplied(model, found.layers[0], rows["weight"]).sum()
    torch.testing.assert_close(products, (model(x) - model.get_parameter("bias")[:, None, None]).sum())


class SelfAttention(nn.Module):
    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self._batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = x if self._batch_first else x.transpose(0, 1)
        y: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return y if self._batch_first else y.transpose(0, 1)


@pytest.mark.parametrize("batch_first", [True, False])
def test_fused_attention_is_found_and_its_rows_follow_the_samples(batch_first: bool) -> None:
    model, x = seeded(SelfAttention(batch_first=batch_first)).double(), normal(3, 5, 8).double()
    found, rows = captured(model, x)
    assert [layer.weight for layer in found.layers] == ["attention.in_proj_weight", "attention.out_proj.weight"]
    reasons = {entry.name: entry.reason for entry in found.untouched}
    assert reasons == {"attention.in_proj_bias": "added to activations", "attention.out_proj.bias": "bias"}
    torch.testing.assert_close(rows["attention.in_proj_weight"], x.reshape(15, 1, 8))
    outputs = multiplied(model, found.layers[1], rows["attention.out_proj.weight"]) + model.attention.out_proj.bias
    torch.testing.assert_close(outputs, model(x).reshape(15, 8))
    assert torch.backends.mha.get_fastpath_enabled()


class CrossAttention(nn.Module):
    """Asks with one part of the inputs about another."""

    def __init__(self, *, kdim: int | None = None) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, kdim=kdim, vdim=kdim)

    def forward(self, x: Tensor) -> Tensor:
        known = x[:, 2:, : self.attention.kdim]
        y: Tensor = self.attention(x[:, :2], known, known, need_weights=False)[0]
        return y


def test_parts_of_a_fused_weight_with_inputs_of_their_own_are_layers_of_their_own() -> None:
    model, x = seeded(CrossAttention()).double(), normal(3, 5, 8).double()
    found, rows = captured(model, x)
    names = [layer.weight for layer in found.layers]
    assert names == ["attention.in_proj_weight[0:8]", "attention.in_proj_weight[8:24]", "attention.out_proj.weight"]
    torch.testing.assert_close(rows[names[0]], x[:, :2].reshape(-1, 1, 8))
    torch.testing.assert_close(rows[names[1]], x[:, 2:].reshape(-1, 1, 8))
    new = {layer.weight: torch.full(layer.shape, float(place)) for place, layer in enumerate(found.layers)}
    merged = assemble(model, new, found.layers)
    assert list(merged) == ["attention.in_proj_weight", "attention.out_proj.weight"]
    assert merged["attention.in_proj_weight"][:, 0].tolist() == [0.0] * 8 + [1.0] * 16


def test_attention_with_keys_of_another_width_is_found() -> None:
    model, x = seeded(CrossAttention(kdim=6)).double(), normal(3, 5, 8).double()
    found, _ = captured(model, x)
    shares = sum(entry.share for entry in found.untouched)
    assert len(found.layers) == 4
    assert shares == pytest.approx(32 / sum(parameter.numel() for parameter in model.parameters()))


@pytest.mark.parametrize("make", [nn.TransformerEncoderLayer, nn.TransformerDecoderLayer])
def test_transformer_layers_never_take_their_hidden_path(make: type[nn.Module]) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make(8, 2, 12, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.inner(x) if make is nn.TransformerEncoderLayer else self.inner(x[:, :2], x[:, 2:])
            return y

    model, x = seeded(Wrapped()).double(), normal(2, 5, 8).double()
    found, rows = captured(model, x)
    matrices = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim > 1)
    assert sum(layer.m * layer.d for layer in found.layers) == matrices
    for layer in found.layers:
        assert_rows_span_the_inputs(model.eval(), layer, rows[layer.weight], x)


class Tied(nn.Module):
    """One matrix under several names and in several roles, by `role`."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6, bias=False)
        self.second = nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
        self.table = nn.Embedding(4, 6)
        self.head = nn.Linear(6, 4, bias=False)
        self.head.weight = self.table.weight
        self._role = role

    def forward(self, x: Tensor) -> Tensor:
        weight = self.first.weight
        y: Tensor = self.second(self.first(x))
        if self._role == "both sides":
            y = y @ weight
        elif self._role == "added":
            y = y + weight.sum()
        elif self._role == "overlapping parts":
            y = y + functional.pad(functional.linear(x, weight[:3]), (0, 3))
        elif self._role == "pixel":
            y = functional.conv1d(y[..., None], weight[..., None]).squeeze(-1)
        elif self._role == "looked up":
            y = self.head(y + self.table((x[:, 0] > 0).long()))
        return y


@pytest.mark.parametrize(("role", "calls"), [("twice", 2), ("pixel", 3)])
def test_all_applications_of_a_tied_weight_are_one_layer(role: str, calls: int) -> None:
    model, x = seeded(Tied(role)).double(), normal(4, 6).double()
    found, rows = captured(model, x)
    assert [(layer.weight, layer.modules) for layer in found.layers] == [("first.weight", ("first", "second"))]
    assert len(rows["first.weight"]) == 4 * calls
    torch.testing.assert_close(rows["first.weight"][4:8, 0], functional.linear(x, model.first.weight).detach())


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        ("both sides", "multiplied in overlapping parts, or from both sides"),
        ("overlapping parts", "multiplied in overlapping parts, or from both sides"),
        ("added", "multiplied, but also used otherwise: added to activations (after sum)"),
    ],
)
def test_a_weight_in_two_roles_is_left_alone(role: str, reason: str) -> None:
    found, _ = captured(nn.Sequential(seeded(Tied(role)), seeded(nn.Linear(6, 2))), normal(4, 6))
    assert [layer.weight for layer in found.layers] == ["1.weight"]
    assert {entry.name: entry.reason for entry in found.untouched}["0.first.weight"] == reason


def test_a_head_tied_to_a_table_is_left_alone() -> None:
    found, _ = captured(seeded(Tied("looked up")), normal(4, 6))
    reasons = {entry.name: entry.reason for entry in found.untouched}
    assert reasons["table.weight"] == "multiplied, but also used otherwise: a table that is looked up, not multiplied"


def test_parameters_that_share_memory_are_edited_once_and_named() -> None:
    model = seeded(nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)))
    model[1].weight.data = model[0].weight.data
    found, rows = captured(model, normal(4, 6))
    assert {name: len(parts) for name, parts in rows.items()} == {"0.weight": 8}
    assert [entry.reason for entry in found.untouched] == ["shares its memory with '0.weight': which is edited"]


class Untouchable(nn.Module):
    """Holds parameters that are no layer, each for another reason."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, 1, 6))
        self.position = nn.Parameter(torch.empty(1, 5, 6))
        self.gamma = nn.Parameter(torch.empty(6))
        self.norm = nn.LayerNorm(6)
        self.slope = nn.PReLU()
        self.table = nn.Embedding(3, 6)
        self.coordinates = nn.Linear(2, 6)
        self.standardised = nn.Parameter(torch.empty(6, 6))
        self.bilinear = nn.Bilinear(6, 6, 2)
        self.recurrent = nn.LSTM(6, 6, batch_first=True)
        self.spare = nn.Linear(6, 6)
        self.used = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        x = self.used(self.norm(x) * self.gamma) + self.coordinates(torch.ones(5, 2))
        w = self.standardised
        x = functional.linear(self.slope(x), (w - w.mean()) / w.std())
        x = self.recurrent(x + self.table((x[..., 0] > 0).long()))[0][:, 0]
        y: Tensor = self.bilinear(x, x)
        return y


def test_every_parameter_that_is_no_layer_has_a_true_reason_and_its_share() -> None:
    model = seeded(Untouchable())
    found, _ = captured(model, normal(3, 4, 6))
    assert [layer.weight for layer in found.layers] == ["used.weight"]
    reasons = {entry.name: entry.reason for entry in found.untouched}
    constant = "takes part in a product whose inputs do not depend on the samples"
    expected = {
        "token": "joined to the activations",
        "position": "added to activations",
        "gamma": "scales activations",
        "norm.weight": "scale or shift of a normalisation",
        "slope.weight": "slope of an activation function",
        "table.weight": "a table that is looked up, not multiplied",
        "coordinates.weight": constant,
        "coordinates.bias": constant,
        "spare.weight": "never used in the forward pass",
        "used.bias": "bias",
    }
    assert {name: reasons[name] for name in expected} == expected
    assert reasons["standardised"].startswith("the multiplied weight is computed from it in the forward pass")
    assert "_trilinear" in reasons["bilinear.weight"]
    assert "recurrence" in reasons["recurrent.weight_ih_l0"]
    total = sum(parameter.numel() for parameter in model.parameters())
    assert sum(entry.parameters for entry in found.untouched) + 36 == total
    assert sum(entry.share for entry in found.untouched) == pytest.approx(1 - 36 / total)


def test_a_parametrisation_that_can_take_any_value_is_edited_through_its_inverse() -> None:
    model, x = seeded(nn.Sequential(parametrizations.weight_norm(nn.Linear(9, 4)))).double(), normal(3, 9).double()
    found, rows = captured(model, x)
    (layer,) = found.layers
    assert layer.weight == "0.weight"
    assert {entry.name for entry in found.untouched} == {"0.bias"}
    assert_rows_span_the_inputs(model, layer, rows["0.weight"], x)


@pytest.mark.parametrize("wrap", [parametrizations.spectral_norm, parametrizations.orthogonal])
def test_a_parametrisation_that_cannot_is_left_alone_by_name(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(wrap(seeded(nn.Linear(6, 6))), seeded(nn.Linear(6, 2))).eval()
    found, _ = captured(model, normal(3, 6))
    assert [layer.weight for layer in found.layers] == ["1.weight"]
    reasons = {entry.name: entry.reason for entry in found.untouched}
    name = "0.parametrizations.weight.original"
    assert reasons[name].startswith("stands behind '0.weight': its parametrisation cannot take any value")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_and_weights_of_half_precision_models_stay_what_they_are(dtype: torch.dtype) -> None:
    model = seeded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))).to(dtype)
    found, rows = captured(model, normal(3, 3, 4, 4).to(dtype))
    assert {part.dtype for part in rows.values()} == {dtype}
    new = assemble(model, {layer.weight: read_rows(model, layer).float() for layer in found.layers}, found.layers)
    assert {name: value.dtype for name, value in new.items()} == {"0.weight": dtype, "2.weight": dtype}


def test_autocast_inside_the_model_does_not_hide_its_weights() -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Linear(16, 2)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                y: Tensor = self.second(self.first(x).flatten(1))
            return y

    found, rows = captured(seeded(Cast()), normal(3, 3, 4, 4))
    assert [layer.weight for layer in found.layers] == ["first.weight", "second.weight"]
    assert rows["second.weight"].dtype == torch.bfloat16
    assert rows["second.weight"].shape == (3, 1, 16)


class Routed(nn.Module):
    """Sends each sample to one of two experts, or to a third that the first samples never see."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        choice, y = x[:, 0].long(), torch.zeros_like(x)
        for place, expert in enumerate(self.experts):
            if bool((choice == place).any()):
                y[choice == place] = expert(x[choice == place])
        return y


def test_an_expert_that_only_later_samples_meet_is_left_alone_by_name() -> None:
    model, x = seeded(Routed()), normal(8, 6)
    x[:, 0] = torch.tensor([0.0, 1, 0, 1, 2, 2, 0, 1])
    found, rows = captured(model, x[:4], x[4:])
    assert {layer.weight: len(rows[layer.weight]) for layer in found.layers} == {
        "experts.0.weight": 3,
        "experts.1.weight": 3,
    }
    late = {entry.name: entry.reason for entry in found.untouched}["experts.2.weight"]
    assert late == "multiplied for some samples only, or in different ways"
    _, some = captured(model, x[:4], x[4:], max_rows=4)
    assert len(some["experts.0.weight"]) <= 4
