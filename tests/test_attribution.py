"""Maps against their formulas, computed here with the whole network's graph; and what attribution leaves behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import Tensor, nn

from core.attribution.attribute import attribute
from core.errors import ModelError, RequestError
from tests.support.given import Given
from tests.support.nets import FixedFeatures, InPlaceNet

BY_GRADIENT = ("gradcam", "gradcam++", "layercam")


def network(seed: int = 0) -> InPlaceNet:
    torch.manual_seed(seed)
    model = InPlaceNet()
    model(torch.randn(64, 3, 32, 32))  # so that the batch statistics are not 0 and 1
    return model.eval()


def pictures(count: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def whole_graph(model: nn.Module, batch: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Activations and gradients of `features`, one picture at a time, with the graph of the whole network, in fp64."""
    model = model.double()
    found = []
    for picture, target in zip(batch.double(), targets, strict=True):
        kept: list[Tensor] = []

        def keep(module: nn.Module, inputs: object, output: Tensor, kept: list[Tensor] = kept) -> Tensor:
            output.retain_grad()
            kept.append(output)
            return output.clone()

        handle = model.get_submodule("features").register_forward_hook(keep)
        model(picture[None])[0, target].backward()
        handle.remove()
        assert kept[0].grad is not None
        found.append((kept[0].detach()[0].numpy(), kept[0].grad[0].numpy()))
    model.float()
    return np.stack([first for first, _ in found]), np.stack([second for _, second in found])


def by_hand(method: str, activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The papers' formulas, written as loops over channels and places; (C, h, w) each."""
    channels, height, width = activations.shape
    result = np.zeros((height, width))
    for k in range(channels):
        weight = 0.0
        for i in range(height):
            for j in range(width):
                slope = gradients[k, i, j]
                if method == "gradcam":
                    weight += slope / (height * width)
                elif method == "gradcam++" and slope != 0:
                    alpha = slope**2 / (2 * slope**2 + activations[k].sum() * slope**3)
                    weight += alpha * max(slope, 0)
                elif method == "layercam":
                    result[i, j] += max(slope, 0) * activations[k, i, j]
        result += weight * activations[k]
    result = np.maximum(result, 0)
    return result / result.max() if result.max() > 0 else result


@pytest.mark.parametrize("method", BY_GRADIENT)
@pytest.mark.parametrize("seed", range(3))
def test_maps_equal_the_papers_formulas_computed_with_the_whole_graph(method: str, seed: int) -> None:
    model, batch = network(seed), pictures(6, seed)
    answer = attribute(Given(model), batch, method=method)
    activations, gradients = whole_graph(model, batch, answer.targets)
    for index in range(len(batch)):
        expected = by_hand(method, activations[index], gradients[index])
        assert np.abs(answer.maps[index].numpy() - expected).max() < 1e-4
        assert answer.flat[index] == (expected.max() == 0)


def test_gradcam_equals_captum() -> None:
    model, batch = network(), pictures(6)
    answer = attribute(Given(model), batch)

    class OutOfPlace(nn.Module):
        """The same network with ReLU out of place, which captum's hooks need."""

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(model.features(model.stem[1](model.stem[0](x)).relu()))
            return model.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)[:, :12])

    theirs = LayerGradCam(OutOfPlace(), model.features).attribute(
        batch, answer.targets, relu_attributions=True, attr_dim_summation=True
    )[:, 0]
    top = theirs.flatten(1).amax(1)[:, None, None]
    assert torch.allclose(answer.maps, torch.where(top > 0, theirs / top, 0.0).detach(), atol=1e-4)


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_logits_are_those_of_plain_inference(method: str) -> None:
    model, batch = network(), pictures()
    with torch.inference_mode():
        expected = model(batch)
    assert torch.equal(attribute(Given(model), batch, method=method).logits, expected)


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_a_map_does_not_depend_on_the_rest_of_the_batch(method: str) -> None:
    model, batch = network(), pictures(5)
    together = attribute(Given(model), batch, method=method).maps
    for index in range(5):
        alone = attribute(Given(model), batch[index : index + 1], method=method).maps[0]
        assert torch.allclose(alone, together[index], atol=1e-5)


def test_the_target_class_may_be_chosen_and_must_exist() -> None:
    model, batch = network(), pictures()
    other = attribute(Given(model), batch, target=torch.tensor([0, 1, 2, 3]))
    assert other.targets.tolist() == [0, 1, 2, 3]
    activations, gradients = whole_graph(model, batch, other.targets)
    assert np.abs(other.maps[2].numpy() - by_hand("gradcam", activations[2], gradients[2])).max() < 1e-4
    for wrong in (torch.tensor([0, 1, 2, 5]), torch.tensor([0, 0, 0, -1]), torch.tensor([0]), torch.zeros(4)):
        with pytest.raises(RequestError, match="target"):
            attribute(Given(model), batch, target=wrong)


def test_the_backbone_builds_no_graph() -> None:
    model, seen = network(), []
    model.stem.register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))
    attribute(Given(model), pictures().requires_grad_())
    assert seen == [False]


def test_hooks_gradients_train_mode_and_frozen_parameters_are_as_before() -> None:
    model = network().train()
    model.stem[1].eval()
    model.head[0].weight.requires_grad_(False)
    before = [module.training for module in model.modules()]
    asking = [parameter.requires_grad for parameter in model.parameters()]
    statistics_before = model.stem[1].running_mean.clone()
    first, second = (attribute(Given(model), pictures()).maps for _ in range(2))
    assert torch.equal(first, second), "dropout must be off while explaining"
    assert [module.training for module in model.modules()] == before
    assert [parameter.requires_grad for parameter in model.parameters()] == asking
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model.stem[1].running_mean, statistics_before)
    assert not model.features._forward_hooks
    assert torch.is_grad_enabled()


def test_everything_is_as_before_also_when_the_model_raises() -> None:
    class Broken(InPlaceNet):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise KeyError("no\nsuch thing")

    model = Broken().train()
    with pytest.raises(ModelError, match="the model failed: KeyError"):
        attribute(Given(model), pictures())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.features._forward_hooks


def test_it_works_under_no_grad_and_in_half_precision() -> None:
    model, batch = network(), pictures()
    expected = attribute(Given(model), batch)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert torch.equal(attribute(Given(model), batch.clone()).maps, expected.maps)
    half = attribute(Given(model.bfloat16()), batch.bfloat16())
    assert half.maps.dtype == half.logits.dtype == torch.float32
    assert torch.corrcoef(torch.stack([half.maps.flatten(), expected.maps.flatten()]))[0, 1] > 0.97


def test_a_layer_that_runs_twice_is_read_at_its_last_run() -> None:
    class Twice(InPlaceNet):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            return super().forward(x)

    model = network()
    twice = Twice()
    twice.load_state_dict(model.state_dict())
    assert torch.equal(attribute(Given(twice.eval()), pictures()).maps, attribute(Given(model), pictures()).maps)


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_one_picture_with_nan_spoils_only_itself(method: str) -> None:
    model, batch = network(), pictures()
    expected = attribute(Given(model), batch, method=method)
    batch[1, 0, 0, 0] = torch.nan
    answer = attribute(Given(model), batch, method=method)
    assert [error is None for error in answer.errors] == [True, False, True, True]
    assert "not finite" in str(answer.errors[1])
    assert answer.reasons[1] is not None
    assert answer.maps[1].abs().max() == 0
    assert torch.allclose(answer.maps[[0, 2, 3]], expected.maps[[0, 2, 3]], atol=1e-6)


@pytest.mark.parametrize(
    ("features", "weights", "words"),
    [
        (torch.ones(1, 2, 4, 4), torch.ones(2, 3), "flat"),
        (torch.zeros(1, 2, 4, 4), torch.ones(2, 3), "zero everywhere"),
        (torch.rand(1, 2, 4, 4), -torch.ones(2, 3), "zero everywhere"),
        (torch.full((1, 2, 4, 4), torch.inf), torch.ones(2, 3), "no prediction"),
    ],
)
@pytest.mark.parametrize("method", BY_GRADIENT)
def test_degenerate_maps_are_a_state_and_not_a_picture(
    method: str, features: Tensor, weights: Tensor, words: str
) -> None:
    answer = attribute(Given(FixedFeatures(features, weights)), pictures(2), method=method)
    assert all(words in str(reason) for reason in answer.reasons)
    assert answer.flat == [True, True]
    assert answer.maps.abs().max() == 0


def test_maps_are_divided_by_their_largest_value_and_not_stretched() -> None:
    features = torch.full((1, 1, 4, 4), 9.0)
    features[0, 0, 1, 2] = 10.0
    answer = attribute(Given(FixedFeatures(features, torch.ones(1, 2))), pictures(1))
    assert torch.allclose(answer.maps[0], features[0, 0] / 10)


def test_what_cannot_be_explained_is_said_in_words() -> None:
    class Cut(InPlaceNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    class Shape(InPlaceNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[0]

    with pytest.raises(ModelError, match="no gradient reaches layer features"):
        attribute(Given(Cut()), pictures())
    with pytest.raises(ModelError, match=r"expected floating-point logits of shape \(4, classes\)"):
        attribute(Given(Shape()), pictures())
    with pytest.raises(ModelError, match="returned \\(4, 5\\)"):
        attribute(Given(network(), layer="head"), pictures())
    with pytest.raises(ModelError, match="no layer"):
        attribute(Given(network(), layer="nowhere"), pictures())
    with pytest.raises(RequestError, match="gradcam, gradcam\\+\\+, layercam"):
        attribute(Given(network()), pictures(), method="gradcamm")


def test_logits_may_come_in_a_dictionary_or_an_object() -> None:
    class Wrapped(InPlaceNet):
        def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            return {"logits": super().forward(x)}

    model = network()
    wrapped = Wrapped()
    wrapped.load_state_dict(model.state_dict())
    assert torch.equal(attribute(Given(wrapped), pictures()).maps, attribute(Given(model), pictures()).maps)
