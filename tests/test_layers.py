"""Target layers: which one is taken, how its output becomes a grid, what is refused with which words."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18

from core.attribution.attribute import attribute
from core.attribution.causal import causal_check
from core.attribution.head import forward, gradient
from core.classifier.layers import choose_layer, trace
from core.classifier.layouts import Layout, find_layouts
from core.classifier.loading import load_classifier, stack_by_shape
from core.commands.main import main
from core.errors import RequestError
from tests.support import tiny_models
from tests.support.given import Given
from tests.support.tiny_models import SIDE, HandsOn, InPlace, InTuples, Tokens, seeded, swin


def pictures(count: int = 2, side: int = SIDE) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def given(model: nn.Module, *, layer: str | None = None, side: int = SIDE) -> Given:
    found = choose_layer(model, trace(model, pictures(1, side)), requested=layer)
    assert found.layout is not None
    return Given(model, found.name, found.layout)


def spec(function: str) -> str:
    return f"{tiny_models.__file__}:{function}"


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8))


# --- layouts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Layout("channels_first"), (2, 5, 3, 4)),
        (Layout("channels_last"), (2, 3, 4, 5)),
        (Layout("tokens", 0, (3, 4)), (2, 12, 5)),
        (Layout("tokens", 3, (3, 4)), (2, 15, 5)),
        (Layout("sequence_first", 1, (3, 4)), (13, 2, 5)),
    ],
)
def test_a_grid_and_back_is_the_same_and_gradients_pass(layout: Layout, shape: tuple[int, ...]) -> None:
    activation = torch.randn(shape, requires_grad=True)
    grid = layout.to_grid(activation)
    assert grid.shape == (2, 5, 3, 4)
    assert layout.fits(activation, 2)
    assert not layout.fits(activation, 7)
    assert torch.equal(layout.from_grid(grid, activation), activation)
    (slope,) = torch.autograd.grad(grid[0, 1, 2, 3], activation)
    expected = torch.zeros(2, 5, 3, 4)
    expected[0, 1, 2, 3] = 1
    assert torch.equal(layout.to_grid(slope), expected)
    alone = activation[:, :1] if layout.kind == "sequence_first" else activation[:1]
    assert layout.fits(layout.from_grid(grid[:1].repeat(6, 1, 1, 1), alone), 6)


@pytest.mark.parametrize(
    ("shapes", "size", "expected"),
    [
        ([(1, 8, 14, 14), (1, 197, 32)], (224, 224), [Layout(grid=(14, 14)), Layout("tokens", 1, (14, 14))]),
        ([(1, 8, 14, 14), (1, 201, 32)], (224, 224), [Layout(grid=(14, 14)), Layout("tokens", 5, (14, 14))]),
        ([(1, 8, 14, 21), (1, 295, 32)], (224, 336), [Layout(grid=(14, 21)), Layout("tokens", 1, (14, 21))]),
        ([(1, 8, 2, 2), (1, 6, 32)], (32, 32), [Layout(grid=(2, 2)), Layout("tokens", 2, (2, 2))]),
        ([(1, 8, 56, 56), (1, 49, 64)], (224, 224), [Layout(grid=(56, 56)), Layout("tokens", 0, (7, 7))]),
        ([(1, 8, 56, 56), (1, 256, 64)], (224, 224), [Layout(grid=(56, 56)), None]),
        ([(1, 65, 32)], (32, 32), [Layout("tokens", 1, (8, 8))]),
        ([(65, 1, 32)], (32, 32), [Layout("sequence_first", 1, (8, 8))]),
        ([(1, 7, 7, 8)], (224, 224), [Layout("channels_last", grid=(7, 7))]),
        ([(1, 197, 32), (1, 12, 197, 197)], (224, 224), [Layout("tokens", 1, (14, 14)), None]),
        ([(4, 49, 32), (1, 64, 1), (1, 1000), (1, 9, 1, 1), (1, 3, 9, 30)], (224, 224), [None] * 5),
    ],
)
def test_layouts_are_recognised_by_their_shapes(
    shapes: list[tuple[int, ...]], size: tuple[int, int], expected: list[Layout | None]
) -> None:
    assert find_layouts(shapes, size) == expected


def test_tokens_of_pictures_of_another_size_make_their_own_grid() -> None:
    layout = Layout("tokens", 1, (4, 4))
    assert layout.to_grid(torch.zeros(1, 25, 5), (32, 48)).shape == (1, 5, 4, 6)
    with pytest.raises(ValueError, match="23 tokens make no grid"):
        layout.to_grid(torch.zeros(1, 24, 5), (32, 48))


# --- the layer that is taken ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "layer", "layout"),
    [
        (seeded(InPlace), "features", Layout(grid=(8, 8))),
        (seeded(Tokens), "encoder.layers.1.norm1", Layout("tokens", 1, (8, 8))),
        (seeded(Tokens, prefix=5), "encoder.layers.1.norm1", Layout("tokens", 5, (8, 8))),
        (seeded(Tokens, prefix=0), "norm", Layout("tokens", 0, (8, 8))),
        (seeded(Tokens, batch_first=False), "encoder.layers.1.norm1", Layout("sequence_first", 1, (8, 8))),
        (seeded(Tokens, unfold=True), "encoder.layers.1.norm1", Layout("tokens", 1, (8, 8))),
        (seeded(HandsOn), "second", Layout(grid=(4, 4))),
        (seeded(InTuples), "block", Layout(grid=(8, 8))),
        (swin(), "permute", Layout(grid=(4, 4))),
    ],
)
def test_the_last_layer_on_which_the_logits_depend_is_taken(model: nn.Module, layer: str, layout: Layout) -> None:
    found = given(model)
    assert (found.layer, found.layout) == (layer, layout)
    answer = attribute(found, pictures())
    assert answer.maps.shape == (2, *layout.grid)
    assert torch.allclose(answer.logits, model(pictures()), atol=1e-5)
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_patch_tokens_have_gradients_at_the_default_layer_and_none_after_the_last_attention() -> None:
    model = seeded(Tokens)
    found = given(model)
    activations, logits = forward(found, pictures())
    assert activations.shape == (2, 16, 8, 8)
    assert (gradient(logits[:, 0], activations, layer=found.layer) != 0).any(dim=1).all()
    with pytest.raises(RequestError, match="do not depend on the places of layer 'norm'.*nearest: .*norm1"):
        given(model, layer="norm")


def test_the_gradient_at_tokens_is_that_of_the_whole_graph() -> None:
    model, batch = seeded(Tokens), pictures()
    found = given(model)
    activations, logits = forward(found, batch)
    kept: list[Tensor] = []
    handle = model.get_submodule(found.layer).register_forward_hook(lambda module, inputs, output: kept.append(output))
    expected = torch.autograd.grad(model(batch)[:, 2].sum(), kept)[0]
    handle.remove()
    assert torch.allclose(activations, found.layout.to_grid(kept[0]), atol=1e-6)
    ours = gradient(logits[:, 2], activations, layer=found.layer)
    assert torch.allclose(ours, found.layout.to_grid(expected), atol=1e-6)


def test_a_head_of_zeros_hides_no_layer_and_stays_zero() -> None:
    model = seeded(Tokens)
    nn.init.zeros_(model.head.weight)
    assert given(model).layer == "encoder.layers.1.norm1"
    assert not model.head.weight.any()
    assert attribute(given(model), pictures()).reasons[0].startswith("the map is zero everywhere")


def test_a_model_without_gradients_is_read_at_its_last_grid() -> None:
    class Detached(InPlace):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(x)

    assert given(seeded(Detached)).layer == "features"


# --- what the user asks for -----------------------------------------------------------------------------------------


def test_the_layer_may_be_chosen_and_the_nearest_names_are_offered() -> None:
    assert load_classifier(spec("in_place"), layer="stem.0").layer == "stem.0"
    assert load_classifier(spec("tokens"), layer="encoder.layers.0").layout == Layout("tokens", 1, (8, 8))
    for name, words in (
        ("stem.O", "no layer 'stem.O' in this model; nearest: .*stem.0"),
        ("head", r"layer 'head' returns \(1, 4\), not a grid of the picture"),
        ("", "no layer ''"),
        ("zzz", "no layer 'zzz' in this model; nearest: stem.2, stem, features"),
    ):
        with pytest.raises(RequestError, match=words):
            load_classifier(spec("in_place"), layer=name)


def test_the_layers_that_may_be_named_come_with_the_classifier() -> None:
    found = load_classifier(spec("in_place"))
    assert [(layer.name, layer.shape) for layer in found.layers] == [
        ("stem.0", (1, 8, 16, 16)),
        ("stem.1", (1, 8, 16, 16)),
        ("stem.2", (1, 8, 16, 16)),
        ("stem", (1, 8, 16, 16)),
        ("features", (1, 12, 8, 8)),
    ]
    assert not any(module._forward_hooks for module in found.model.modules())


def test_the_command_lists_layers_and_marks_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "layers", spec("tokens"), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0] == {"layer": "patches", "shape": "1 x 16 x 8 x 8", "grid": "8 x 8", "default": ""}
    assert [row["layer"] for row in rows if row["default"]] == ["encoder.layers.1.norm1"]
    assert main(["models", "layers"]) == 2
    assert "whylook models layers SPEC" in capsys.readouterr().err
    assert main(["models", "layers", spec("flat")]) == 2
    assert "no layer of this model keeps the picture's layout" in capsys.readouterr().err


# --- models that are hard to read -----------------------------------------------------------------------------------


def test_flattened_pixels_are_refused_and_methods_that_only_ask_still_work() -> None:
    with pytest.raises(RequestError, match="no layer .* keeps the picture's layout.*--method occlusion"):
        load_classifier(spec("flat"))
    found = load_classifier(spec("flat"), needs_layer=False)
    assert (found.layer, found.layers) == ("", ())
    batch = found.transform(noise(40, 40))[None]
    answer = attribute(found, batch, method="occlusion")
    assert answer.reasons == [None]
    assert answer.maps.shape[1:] == (28, 28)
    with pytest.raises(RequestError, match="no layer to read a class activation map at"):
        attribute(found, batch)


@pytest.mark.parametrize("function", ["in_place", "frozen", "half", "bfloat16"])
def test_in_place_frozen_and_half_precision_models_keep_everything_and_give_a_map(function: str) -> None:
    found = load_classifier(spec(function))
    asking = [weight.requires_grad for weight in found.model.parameters()]
    batch = torch.stack([found.transform(noise(70, 50)), found.transform(noise(33, 90))])
    copy = batch.clone()
    answer = attribute(found, batch)
    assert torch.equal(batch, copy), "the model changes its input in place, but not the caller's"
    alone = attribute(found, batch[:1])
    assert answer.reasons == [None, None]
    assert answer.maps.dtype == answer.logits.dtype == torch.float32
    assert torch.allclose(alone.maps, answer.maps[:1], atol=0.05 if batch.dtype != torch.float32 else 1e-4)
    assert causal_check(found, batch, answer.maps, answer.targets)[0].causal_drop is not None
    assert [weight.requires_grad for weight in found.model.parameters()] == asking
    assert not any(module.training for module in found.model.modules())
    assert batch.dtype == {"half": torch.float16, "bfloat16": torch.bfloat16}.get(function, torch.float32)


def test_half_precision_maps_are_like_those_in_full_precision() -> None:
    full, half = load_classifier(spec("in_place")), load_classifier(spec("bfloat16"))
    picture = noise(60, 60)
    maps = [attribute(model, model.transform(picture)[None]).maps.flatten() for model in (full, half)]
    assert torch.corrcoef(torch.stack(maps))[0, 1] > 0.97


def test_pictures_of_mixed_sizes_each_have_a_map_of_their_own_shape() -> None:
    found = load_classifier(spec("own_size"))
    tensors = [found.transform(noise(*size)) for size in ((64, 48), (40, 80), (64, 48), (33, 35))]
    shapes = {}
    for places, batch in stack_by_shape(tensors):
        answer = attribute(found, batch)
        shapes |= {place: tuple(answer.maps[index].shape) for index, place in enumerate(places)}
    assert [shapes[place] for place in range(4)] == [(12, 16), (20, 10), (12, 16), (9, 9)]


# --- TorchScript ----------------------------------------------------------------------------------------------------


def test_a_torchscript_resnet_has_the_layer_and_map_of_its_python(tmp_path: Path) -> None:
    model = seeded(resnet18, num_classes=4)
    for archive in (torch.jit.trace(model, pictures(1, 64)), torch.jit.script(model)):
        archive.save(str(tmp_path / "model.pt"))
        found = load_classifier(f"torchscript:{tmp_path / 'model.pt'}")
        assert found.layer == "layer4"
        batch = pictures(2, 64)
        assert torch.allclose(attribute(found, batch).maps, attribute(given(model, side=64), batch).maps, atol=1e-4)


class Talks(nn.Module):
    """Puts numbers into a text and warns, as torchvision's scripted ViT and GoogLeNet do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = resnet18(num_classes=4)

    def forward(self, x):
        torch._assert(x.shape[1] == 3, f"{x.shape[1]} channels, not {3}")
        if x.shape[0] > 0:
            warnings.warn("scripted")  # noqa: B028
        return self.inner(x)


def test_a_torchscript_model_that_writes_text_and_warns_is_run_all_the_same(tmp_path: Path) -> None:
    torch.jit.script(seeded(Talks)).save(str(tmp_path / "model.pt"))
    found = load_classifier(f"torchscript:{tmp_path / 'model.pt'}", probe=noise(SIDE, SIDE))
    assert found.layer.startswith("inner.layer")


def test_a_torchscript_transformer_is_read_before_its_last_attention(tmp_path: Path) -> None:
    model = seeded(Tokens)
    torch.jit.trace(model, pictures(), check_trace=False).save(str(tmp_path / "model.pt"))
    found = load_classifier(f"torchscript:{tmp_path / 'model.pt'}", probe=noise(SIDE, SIDE))
    assert (found.layer, found.layout) == ("encoder.layers.1.norm1", Layout("tokens", 1, (8, 8)))
    answer, expected = attribute(found, pictures()), attribute(given(model), pictures())
    assert torch.allclose(answer.maps, expected.maps, atol=1e-4)


def test_a_torchscript_archive_that_hides_its_layers_is_refused_with_a_way_out(tmp_path: Path) -> None:
    torch.jit.freeze(torch.jit.trace(seeded(InPlace), pictures(1))).save(str(tmp_path / "model.pt"))
    with pytest.raises(RequestError, match="TorchScript hides this model's layers.*FILE.py:FUNCTION"):
        load_classifier(f"torchscript:{tmp_path / 'model.pt'}")
    found = load_classifier(f"torchscript:{tmp_path / 'model.pt'}", needs_layer=False)
    assert attribute(found, pictures(), method="occlusion").reasons == [None, None]
