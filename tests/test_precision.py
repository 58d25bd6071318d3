"""Another precision is the same network, faster: it agrees, it is undone, and it is a run of its own."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.attribution.attribute import attribute
from core.classifier.loading import load_classifier
from core.classifier.precision import set_precision
from core.commands.main import main
from core.errors import ModelError, RequestError
from core.pipeline.auto import choose_precision, likeness
from core.store import Store
from tests.support.given import Given
from tests.support.tiny_world import make_folder, make_model

CPU = torch.device("cpu")


class Moody(nn.Module):
    """Raises when it sees a negative picture; notes how it was asked to compute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.seen: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() < 0:
            raise ValueError("too dark")
        self.seen.append((torch.is_autocast_enabled("cpu"), x.is_contiguous(memory_format=torch.channels_last)))
        return self.conv(x).mean((2, 3))


def test_bf16_holds_while_the_network_runs_and_not_after_it_even_when_it_raises() -> None:
    model = Moody().eval()
    undo = set_precision(model, "bf16", CPU)
    model(torch.rand(2, 3, 8, 8))
    with pytest.raises(ValueError, match="too dark"):
        model(-torch.rand(2, 3, 8, 8))
    assert model.seen == [(True, True)] and not torch.is_autocast_enabled("cpu")
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied.conv.weight.zero_()
        copied.conv.bias.zero_()
    assert copied(torch.rand(2, 3, 8, 8)).abs().max() == 0  # the copy runs its own weights
    undo()
    model(torch.rand(2, 3, 8, 8))
    assert model.seen[-1] == (False, False) and not model._forward_hooks and not model._forward_pre_hooks


def test_a_precision_that_is_none_and_torchscript_are_refused() -> None:
    with pytest.raises(RequestError, match="no precision 'int8'"):
        set_precision(Moody(), "int8", CPU)  # type: ignore[arg-type]
    scripted = torch.jit.trace(nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8))
    with pytest.raises(RequestError, match="TorchScript"):
        set_precision(scripted, "bf16", CPU)


def test_maps_in_bf16_correlate_with_those_in_fp32(tmp_path: Path) -> None:
    classifier = load_classifier("torchvision:resnet18", device="cpu")
    batch = torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    plain = attribute(classifier, batch)
    undo = set_precision(classifier.model, "bf16", CPU)
    quick = attribute(classifier, batch)
    undo()
    assert quick.logits.dtype == torch.float32 and likeness(plain, quick)[0] > 0.95
    again = attribute(classifier, batch)
    assert likeness(plain, again) == (pytest.approx(1, abs=1e-4), 0)
    chosen, why = choose_precision(classifier, batch, method="gradcam")
    assert f"chose {chosen}" in why and "fp32" in why
    assert not classifier.model._forward_hooks


def test_predictions_that_differ_are_counted_save_where_they_are_a_toss_up_and_maps_are_of_one_class() -> None:
    classifier = load_classifier("torchvision:resnet18", device="cpu")
    batch = torch.rand(3, 3, 64, 64)
    first, second = (attribute(classifier, batch, target=torch.tensor([5, 6, 7])) for _ in range(2))
    for place, (one_more, other) in enumerate([(9.0, 0.0), (0.01, 0.0), (9.0, 0.0)]):
        first.logits[place] = second.logits[place] = 0
        first.logits[place, 5], first.logits[place, 8] = one_more, other
        second.logits[place, 5], second.logits[place, 8] = (0.0, 9.0) if place < 2 else (9.0, 0.0)
    assert likeness(first, second) == (pytest.approx(1, abs=1e-4), 1)  # the second is a toss-up, the third the same
    second.reasons[0] = "the map is flat"
    assert likeness(first, second) == (0.0, 1)


@pytest.mark.slow
def test_each_precision_is_a_run_of_its_own_and_auto_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = make_folder(tmp_path / "pictures", per_class=2)
    words = ["run", str(pictures), "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm"]
    words += ["--store", str(tmp_path / "store"), "--precision"]
    for precision in ("fp32", "channels-last", "bf16"):
        assert main([*words, precision]) == 0
    records = Store(tmp_path / "store").run_records()
    assert len({record["run"] for record in records}) == 3
    capsys.readouterr()
    assert main([*words, "auto"]) == 0
    assert "--precision auto chose" in capsys.readouterr().err


def test_a_model_that_raises_in_bf16_is_a_model_error() -> None:
    given = Given(Moody().eval(), "conv")
    set_precision(given.model, "bf16", CPU)
    with pytest.raises(ModelError, match="too dark"):
        attribute(given, -torch.rand(2, 3, 8, 8))
    assert not torch.is_autocast_enabled("cpu")
