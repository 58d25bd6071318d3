"""Attention statistics of maps whose answer is known, and the causal check of models whose cause is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.attribution import causal
from core.attribution.attention import attention_statistics
from core.attribution.causal import blurred, causal_check, closer_look
from core.errors import RequestError
from tests.support.given import Given
from tests.support.nets import TexturedCorner


def pictures(count: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


# --- attention statistics -------------------------------------------------------------------------------------------


def test_statistics_of_a_map_in_one_corner() -> None:
    map_ = np.zeros((4, 8), np.float32)
    map_[0, 7] = 1
    assert attention_statistics(map_) == pytest.approx(
        {
            "attention_area": 1 / 32,
            "attention_entropy": 0.0,
            "attention_border": 1.0,
            "attention_x": 7.5 / 8,
            "attention_y": 0.5 / 4,
            "attention_islands": 1,
        }
    )


def test_statistics_of_a_map_that_is_the_same_everywhere() -> None:
    assert attention_statistics(np.full((5, 5), 0.7)) == pytest.approx(
        {
            "attention_area": 1.0,
            "attention_entropy": 1.0,
            "attention_border": 16 / 25,
            "attention_x": 0.5,
            "attention_y": 0.5,
            "attention_islands": 1,
        }
    )


def test_attention_area_counts_cells_from_the_masks_edge_on() -> None:
    assert attention_statistics(np.array([[1.0, 0.4], [0.39, 0.0]]))["attention_area"] == 0.5


def test_an_empty_map_has_no_statistics() -> None:
    for map_ in (np.zeros((3, 3)), np.full((3, 3), np.nan)):
        assert set(attention_statistics(map_).values()) == {None}
    with pytest.raises(ValueError, match="shape"):
        attention_statistics(np.zeros(3))


# --- the causal check -----------------------------------------------------------------------------------------------


def corner_map(row: int, column: int) -> Tensor:
    map_ = torch.zeros(8, 8)
    map_[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1.0
    return map_


def test_removing_what_the_model_uses_costs_more_than_removing_a_random_region() -> None:
    batch, targets = pictures(8), torch.ones(8, dtype=torch.long)
    maps = torch.stack([corner_map(0, 0)] * 8)
    effects = causal_check(Given(TexturedCorner()), batch, maps, targets)
    assert all(effect.causal_drop is not None and effect.causal_drop > 0.8 for effect in effects)
    for picture, effect in zip(batch, effects, strict=True):
        look = closer_look(Given(TexturedCorner()), picture, corner_map(0, 0), 1, draws=16)
        assert look.causal_drop == pytest.approx(effect.causal_drop, abs=1e-5)
        assert len(look.random_drops) == 16
        (several,) = causal_check(Given(TexturedCorner()), picture[None], corner_map(0, 0)[None], targets[:1], draws=16)
        assert several.causal_draws == 16
        assert several.causal_drop_random == pytest.approx(np.mean(look.random_drops), abs=1e-5)
        assert look.random_drops[0] == pytest.approx(effect.causal_drop_random, abs=1e-5)
        assert look.causal_drop > np.mean(look.random_drops) + 0.2
        assert look.causal_keep > 0.9


def test_a_map_elsewhere_is_shown_not_to_be_causal() -> None:
    (effect,) = causal_check(Given(TexturedCorner()), pictures(1), corner_map(1, 1)[None], torch.tensor([1]))
    assert effect.causal_drop == pytest.approx(0, abs=0.02)
    look = closer_look(Given(TexturedCorner()), pictures(1)[0], corner_map(1, 1), 1)
    assert look.causal_drop == pytest.approx(0, abs=0.02) and look.causal_keep < 0.3
    with pytest.raises(RequestError, match="marks no region"):
        closer_look(Given(TexturedCorner()), pictures(1)[0], torch.zeros(8, 8), 1)
    with pytest.raises(RequestError, match="at least 1"):
        closer_look(Given(TexturedCorner()), pictures(1)[0], corner_map(1, 1), 1, draws=0)


@pytest.mark.parametrize("shape", [(2, 3, 224, 224), (1, 1, 40, 24), (1, 3, 5, 1), (2, 3, 300, 90)])
def test_a_blur_by_matrices_is_that_of_convolutions(shape: tuple[int, ...]) -> None:
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(blurred(batch), causal._convolved(batch), atol=1e-5)
    assert blurred(batch.half()).dtype == torch.float16


def test_a_picture_without_a_map_has_no_effect_to_report() -> None:
    maps = torch.stack([torch.zeros(8, 8), corner_map(0, 0)])
    empty, full = causal_check(Given(TexturedCorner()), pictures(2), maps, torch.tensor([1, 1]))
    assert (empty.causal_drop, empty.causal_drop_random, empty.causal_draws) == (None, None, None)
    assert full.causal_drop is not None


def test_random_regions_depend_on_the_map_and_the_seed_and_not_on_the_batch() -> None:
    batch, targets = pictures(3), torch.tensor([1, 1, 1])
    maps = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    together = causal_check(Given(TexturedCorner()), batch, maps, targets, seed=5)
    for index in range(3):
        (alone,) = causal_check(
            Given(TexturedCorner()), batch[index : index + 1], maps[index : index + 1], targets[:1], seed=5
        )
        assert vars(alone) == pytest.approx(vars(together[index]), abs=1e-6)
    other = causal_check(Given(TexturedCorner()), batch, maps, targets, seed=6)
    assert other[0].causal_drop_random != together[0].causal_drop_random


def test_probabilities_that_are_known_save_a_forward() -> None:
    class Counting(TexturedCorner):
        forwards = 0

        def forward(self, x: Tensor) -> Tensor:
            self.forwards += 1
            return super().forward(x)

    model, batch, maps, targets = Counting(), pictures(1), corner_map(0, 0)[None], torch.tensor([1])
    plain = causal_check(Given(model), batch, maps, targets)
    assert model.forwards == 3
    before = model(batch).softmax(1)[:, 1]
    model.forwards = 0
    assert causal_check(Given(model), batch, maps, targets, before=before) == plain
    assert model.forwards == 2


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 50)])
def test_pictures_of_any_size_can_be_checked(size: tuple[int, int]) -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    maps = torch.rand(2, 3, 3)
    maps[:, 1, 1] = 1
    for effect in causal_check(Given(Mean()), torch.rand(2, 3, *size), maps, torch.tensor([0, 1])):
        assert effect.causal_drop is not None


def test_the_causal_check_refuses_what_does_not_fit() -> None:
    with pytest.raises(RequestError, match="draws must be at least 1"):
        causal_check(Given(TexturedCorner()), pictures(1), corner_map(0, 0)[None], torch.tensor([1]), draws=0)
    with pytest.raises(RequestError, match="do not fit"):
        causal_check(Given(TexturedCorner()), pictures(2), corner_map(0, 0)[None], torch.tensor([1, 1]))


def test_islands_are_attended_regions_that_do_not_touch() -> None:
    map_ = np.zeros((5, 5))
    map_[0, 0] = map_[1, 1] = map_[4, 4] = map_[0, 4] = 1  # two touch by a corner
    map_[2, 4] = 0.39
    assert attention_statistics(map_)["attention_islands"] == 3
