"""Maps of what the classifier was shown, put where they belong in the picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import v2

from core import queries
from core.classifier.preprocess import Preprocess
from core.commands.main import main
from core.placing import inside, placed
from core.store import Store

FLOATS = [
    v2.ToImage(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
]
CUT = v2.Compose([v2.Resize(64), v2.CenterCrop(56), *FLOATS])


def letterbox(picture: Image.Image) -> Tensor:
    found: Tensor = v2.Compose(FLOATS)(ImageOps.pad(picture, (64, 64)))
    return found


@pytest.mark.parametrize(
    ("transform", "size", "part"),
    [
        (CUT, (640, 480), (1 / 16, 11 / 64, 15 / 16, 53 / 64)),
        (CUT, (480, 640), (11 / 64, 1 / 16, 53 / 64, 15 / 16)),
        (v2.Compose([v2.CenterCrop(120), *FLOATS]), (480, 240), (0.25, 0.375, 0.75, 0.625)),
        (letterbox, (640, 480), (-1 / 6, 0, 7 / 6, 1)),
        (v2.Compose([v2.Resize((64, 64)), *FLOATS]), (640, 480), None),
        (v2.Compose(FLOATS), (640, 480), None),
        (v2.Compose([v2.Resize(64), v2.CenterCrop(56), v2.RandomHorizontalFlip(1.0), *FLOATS]), (640, 480), None),
        (v2.Compose([v2.Grayscale(), *CUT.transforms[:2], *FLOATS[:2]]), (99, 99), (1 / 16, 1 / 16, 15 / 16, 15 / 16)),
    ],
)  # fmt: skip
def test_the_part_that_a_transform_shows_is_measured(
    transform: Callable[[Image.Image], Tensor], size: tuple[int, int], part: tuple[float, ...] | None
) -> None:
    found = Preprocess(transform).seen(size)
    assert found == (None if part is None else pytest.approx(part, abs=0.012))


def test_a_placed_map_is_zero_where_nothing_was_seen_and_peaks_where_it_did() -> None:
    heat = np.zeros((7, 7), np.float32)
    heat[3, 6] = 1  # at the right border of what was seen
    whole = placed(heat, (0.0, 0.25, 1.0, 0.75))
    row, column = np.unravel_index(whole.argmax(), whole.shape)
    height, width = whole.shape
    assert (row + 0.5) / height == pytest.approx(0.5, abs=0.05)
    assert (column + 0.5) / width == pytest.approx(0.25 + 0.5 * 6.5 / 7, abs=0.03)
    assert not whole[:, : width // 4 - 1].any() and not whole[:, 3 * width // 4 + 1 :].any()
    assert placed(heat, None) is heat
    assert placed(heat, (-0.5, 0.0, 1.5, 1.0)).shape == (14, 28), "of a padded input only the picture is kept"


def test_a_box_of_the_input_is_cut_at_the_pictures_border() -> None:
    assert inside((0.0, 0.5, 0.5, 1.0), (0.0, 0.25, 1.0, 0.75)) == (0.0, 0.5, 0.5, 0.75)
    assert inside((0.0, 0.0, 1.0, 1.0), (-0.5, 0.0, 1.5, 1.0)) == (0.0, 0.0, 1.0, 1.0)


MODEL = '''
import torch
from torchvision.transforms import v2
class Corner(torch.nn.Module):
    """Says "a" where the picture is bright; its features are the brightness itself."""
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 2, 8, stride=8)
        torch.nn.init.constant_(self.layer.weight, 1 / 192)
        self.layer.weight.data[1] *= -1
        torch.nn.init.zeros_(self.layer.bias)
    def forward(self, x):
        return self.layer(x).relu().mean(dim=(2, 3))
def load():
    floats = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    return Corner().eval(), v2.Compose([v2.Resize(64), v2.CenterCrop(56), *floats]), ("a", "b")
'''


def test_a_run_lays_the_map_over_what_was_attended_in_a_picture_that_was_cut(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    folder = tmp_path / "pictures" / "a"
    folder.mkdir(parents=True)
    pixels = np.zeros((120, 240, 3), np.uint8)
    pixels[45:75, 140:164] = 255  # centre at (0.5, 0.63) of the picture; of what is seen it is at 0.80
    Image.fromarray(pixels).save(folder / "spot.png")
    words = ["run", str(folder.parent), "--classifier", f"{tmp_path / 'model.py'}:load", "--no-vlm", "--quiet"]
    assert main([*words, "--store", str(tmp_path / "store"), "--method", "gradcam", "--device", "cpu"]) == 0
    con = Store(tmp_path / "store").reader()
    (run,) = queries.runs(con)
    (image_id,) = (row["image_id"] for row in queries.pictures(con, run.name))
    heat = queries.maps(con, run.name, [image_id])[image_id]
    columns = np.average((np.arange(heat.shape[1]) + 0.5) / heat.shape[1], weights=heat.sum(axis=0))
    assert columns == pytest.approx(152 / 240, abs=0.04)
    assert queries.seen_parts(con, run.name, [image_id])[image_id] == pytest.approx(
        (1 / 16, 9 / 32, 15 / 16, 23 / 32), abs=0.02
    )
    assert queries.maps(con, run.name, [image_id], of_input=True)[image_id].shape == (7, 7)
    np.testing.assert_array_equal(queries.sample(con, run.name, image_id).map, heat)
