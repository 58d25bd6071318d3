"""A network that was streamlined answers as before; what cannot be folded, or must not be, stays as it is."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from core.attribution.attribute import attribute
from core.classifier.precision import is_channels_last
from core.classifier.streamline import streamline
from tests.support.given import Given


def drawn(model: nn.Module) -> nn.Module:
    """With batch norms that do something."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.copy_(0.3 * torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "googlenet"])
def test_known_networks_keep_their_logits_and_their_maps(name: str) -> None:
    torch.manual_seed(0)
    extra = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
    model = drawn(torchvision.models.get_model(name, weights=None, num_classes=7, **extra))
    layer = {"resnet18": "layer4", "mobilenet_v2": "features", "densenet121": "features", "googlenet": "inception5b"}[
        name
    ]
    batch = torch.randn(3, 3, 96, 96)
    before, had = attribute(Given(model, layer), batch), norms(model)
    streamline(model, batch, keep=frozenset({layer}))
    after = attribute(Given(model, layer), batch)
    assert norms(model) < had / 1.5
    assert torch.allclose(before.logits, after.logits, atol=1e-4 * float(before.logits.abs().max()))
    assert torch.allclose(before.maps, after.maps, atol=1e-3)


class Peculiar(nn.Module):
    """One convolution that two read, one that runs twice, one changed in place, one whose batch norm is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.norm_a = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.twice, self.norm_b = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.changed, self.norm_c = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.plain, self.norm_d = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, batch: Tensor) -> Tensor:
        first = self.shared(batch)
        values = self.norm_a(first) + first
        values = self.norm_b(self.twice(self.twice(values)))
        inner = self.changed(values)
        inner.relu_()
        values = self.norm_c(inner)
        values = self.norm_d(self.plain(values)) * (1 + self.norm_d.eps)
        return self.head(values.mean(dim=(2, 3)))


def test_what_a_fold_would_change_is_put_back() -> None:
    torch.manual_seed(1)
    model, batch = drawn(Peculiar()), torch.randn(4, 3, 16, 16)
    before, state = model(batch), {name: value.clone() for name, value in model.state_dict().items()}
    streamline(model, batch)
    assert torch.allclose(model(batch), before, atol=1e-5)
    assert norms(model) == 4 and all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_layer_that_is_read_keeps_its_batch_norm() -> None:
    model, batch = drawn(torchvision.models.resnet18(num_classes=3)), torch.randn(2, 3, 64, 64)
    seen: list[Tensor] = []
    model.conv1.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    model(batch)
    streamline(model, batch, keep=frozenset({"conv1"}))
    seen.clear()
    model(batch)
    assert isinstance(model.bn1, nn.BatchNorm2d) and norms(model) == 1
    assert torch.allclose(seen[0], nn.functional.conv2d(batch, model.conv1.weight, stride=2, padding=3), atol=1e-5)


def test_a_network_that_counts_on_the_order_in_memory_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(*(nn.Conv2d(3 if place == 0 else 8, 8, 3, padding=1) for place in range(4)))
            self.head = nn.Linear(8 * 64, 3)

        def forward(self, batch: Tensor) -> Tensor:
            return self.head(self.features(batch).view(len(batch), -1))

    monkeypatch.setattr("core.classifier.streamline.FASTER", 0.0)  # the layout is always faster
    model, batch = Viewing().eval(), torch.randn(2, 3, 8, 8)
    before = model(batch)
    streamline(model, batch)
    assert not is_channels_last(model) and torch.allclose(model(batch), before, atol=1e-6)
    known = drawn(torchvision.models.resnet18(num_classes=3))
    streamline(known, torch.randn(2, 3, 64, 64))
    assert is_channels_last(known)


def test_a_network_that_fails_or_has_nothing_to_fold_is_left_alone() -> None:
    class Failing(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            raise RuntimeError("no")

    streamline(Failing(), torch.zeros(1, 3, 8, 8))
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3).eval()
    batch = torch.randn(1, 3, 224, 224)
    before = model(batch)
    streamline(model, batch)
    assert torch.equal(model(batch), before)
