"""Copies of a classifier side by side: true, sharing their weights, each in a thread; errors reach the caller."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.attribution.attribute import attribute
from core.classifier.loading import Classifier, load_classifier
from core.errors import ModelError
from core.pipeline.lanes import LEAST, Lanes, lanes_for, split
from tests.support.tiny_world import make_model


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    loaded = load_classifier(f"{make_model(tmp_path)}:tiny")
    loaded.model.requires_grad_(False)
    return loaded


@pytest.fixture(autouse=True)
def threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_lanes_give_what_one_classifier_gives_in_order(classifier: Classifier) -> None:
    batch = torch.randn(2 * LEAST, 3, 32, 32)
    whole = attribute(classifier, batch)
    used = set()

    def explained(own: Classifier, lane: int, part: Tensor) -> Tensor:
        used.add((threading.current_thread().name, torch.get_num_threads(), id(own.model)))
        return attribute(own, part).maps

    with Lanes(classifier, "gradcam", batch[:1]) as lanes:
        assert lanes.count == 2
        for _ in range(5):
            found = lanes.each(explained, [batch[part] for part in split(len(batch), lanes.count)])
            assert torch.allclose(torch.cat(found), whole.maps, atol=1e-5)
        weights = [own.model.features[0].weight.data_ptr() for own in lanes._classifiers]
    names, told, models = (set(each) for each in zip(*used, strict=True))
    assert len(names) == len(models) == 2 and told == {1} and len(set(weights)) == 1
    assert torch.get_num_threads() == 2


def test_an_error_in_a_lane_reaches_the_caller_when_the_others_are_done(classifier: Classifier) -> None:
    both, ended = threading.Barrier(2), []

    def failing(own: Classifier, lane: int, part: int) -> int:
        if part == 5:
            return part
        both.wait(10)
        if part == 0:
            raise ModelError("no")
        time.sleep(0.3)
        ended.append(part)
        return part

    with Lanes(classifier, "gradcam", torch.zeros(1, 3, 32, 32)) as lanes:
        with pytest.raises(ModelError, match="no"):
            lanes.each(failing, [0, 1])
        assert ended == [1]
        assert lanes.each(failing, [5]) == [5]  # alone, in this thread


def test_a_network_that_cannot_be_copied_truly_has_one_lane(classifier: Classifier) -> None:
    class Stubborn(type(classifier.model)):  # type: ignore[misc]
        def __deepcopy__(self, memo: object) -> nn.Module:
            raise TypeError("no copies")

    class Forgetful(type(classifier.model)):  # type: ignore[misc]
        def __deepcopy__(self, memo: object) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))

    for kind in (Stubborn, Forgetful):
        classifier.model.__class__ = kind
        with Lanes(classifier, "gradcam", torch.zeros(1, 3, 32, 32)) as lanes:
            assert lanes.count == 1
    assert lanes_for(classifier, "rollout") == 1 == lanes_for(classifier, "integrated-gradients")


def test_parts_are_never_too_short() -> None:
    assert split(5, 2) == [slice(0, 5)]
    assert split(2 * LEAST - 1, 2) == [slice(0, 2 * LEAST - 1)]
    assert split(2 * LEAST + 1, 2) == [slice(0, LEAST), slice(LEAST, 2 * LEAST + 1)]
    assert [part.stop - part.start for part in split(100, 8)] == [16, 17, 17, 16, 17, 17]
