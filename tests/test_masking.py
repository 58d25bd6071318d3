"""Masks and overlays against the formula and against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.images.masking import INFERNO, colours, enlarge, mask_weights, masked_image, overlay

GENERATOR = np.random.default_rng(0)
MAP = GENERATOR.random((7, 7), dtype=np.float32)
RGB = GENERATOR.integers(0, 256, (50, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(7, 7), (14, 5), (1, 1), (1, 9)])
@pytest.mark.parametrize("size", [(224, 224), (50, 64), (5, 3), (1, 1)])
def test_enlarging_is_bilinear_as_torch_does_it(shape: tuple[int, int], size: tuple[int, int]) -> None:
    values = GENERATOR.random(shape, dtype=np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], size=size, mode="bilinear", align_corners=False
    )[0, 0]
    assert np.allclose(enlarge(values, size=size), expected.numpy(), atol=1e-5)


def test_mask_weights_follow_the_formula() -> None:
    value = enlarge(MAP, size=(20, 30))
    weights = mask_weights(MAP, size=(20, 30), alpha=15, beta=0.6)
    expected = [[1 / (1 + math.exp(15 * (0.6 - float(v)))) for v in row] for row in value]
    assert np.allclose(weights, expected, atol=1e-5)


def test_a_steep_mask_does_not_overflow() -> None:
    with np.errstate(all="raise"):
        weights = mask_weights(MAP, size=(20, 30), alpha=1e6)
    assert np.isfinite(weights).all()
    assert set(np.unique(weights)) <= {0.0, 1.0}


def test_masked_pixels_are_filled_and_attended_ones_stay() -> None:
    map_ = np.zeros((2, 2), np.float32)
    map_[0, 0] = 1
    for fill, value in (("black", 0), ("grey", 128)):
        masked = masked_image(RGB, map_, alpha=1e4, fill=fill)  # type: ignore[arg-type]
        assert np.array_equal(masked[:10, :10], RGB[:10, :10])
        assert (masked[-10:, -10:] == value).all()
    blurred = masked_image(RGB, map_, alpha=1e4, fill="blur")
    assert np.array_equal(blurred[:10, :10], RGB[:10, :10])
    assert blurred[-10:, -10:].std() < RGB[-10:, -10:].std() / 3


def test_black_masking_is_the_papers_product() -> None:
    weights = mask_weights(MAP, size=RGB.shape[:2])[..., None]
    assert np.abs(masked_image(RGB, MAP).astype(float) - RGB * weights).max() <= 0.5 + 1e-3


def test_overlay_runs_from_the_picture_to_the_scale() -> None:
    assert np.array_equal(overlay(RGB, MAP, strength=0), RGB)
    assert np.array_equal(overlay(RGB, MAP, strength=1), colours(enlarge(MAP, size=RGB.shape[:2])))


def test_the_scale_gets_lighter_all_the_way() -> None:
    light = colours(np.linspace(0, 1, 256)).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) >= -0.5).all()
    assert light[-1] - light[0] > 200
    assert INFERNO.shape == (33, 3)


def test_values_outside_the_scale_do_not_wrap_around() -> None:
    assert np.array_equal(colours([-1.0, np.nan, 2.0]), colours([0.0, 0.0, 1.0]))


def test_what_is_no_picture_or_no_map_is_refused() -> None:
    with pytest.raises(ValueError, match="picture"):
        masked_image(RGB[..., 0], MAP)
    with pytest.raises(ValueError, match="map"):
        masked_image(RGB, MAP[0])
    with pytest.raises(ValueError, match="fill"):
        masked_image(RGB, MAP, fill="white")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="strength"):
        overlay(RGB, MAP, strength=1.5)
