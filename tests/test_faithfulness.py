"""Whether maps are faithful, measured: oracle before random before inverted; the curves and ROAD against the peers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import quantus
import torch
import torch.nn.functional as F
from PIL import Image
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import Tensor, nn

from core import queries
from core.attribution.attention import rank_correlation
from core.attribution.attribute import attribute
from core.attribution.faithfulness import (
    SHARES,
    edges,
    energy_inside,
    faithfulness,
    pointing_game,
    randomised,
    separation,
)
from core.attribution.imputation import impute
from core.commands.main import main
from core.store import Store
from tests.support.given import Given
from tests.support.nets import BrightCorner
from tests.support.tiny_world import make_folder, make_model


def scene(side: int = 20, channels: int = 3, count: int = 2) -> tuple[Tensor, Tensor]:
    """Pictures with a bright upper left quarter and a mean of 0; the oracle's maps."""
    generator = torch.Generator().manual_seed(4)
    batch = 0.1 * torch.randn(count, channels, side, side, generator=generator)
    batch[:, :, : side // 2, : side // 2] += 1
    batch -= batch.mean((2, 3), keepdim=True)
    oracle = torch.zeros(count, 4, 4)
    oracle[:, :2, :2] = 1
    return batch, oracle


def test_an_oracle_beats_a_random_map_and_that_an_inverted_one_on_every_measure() -> None:
    batch, oracle = scene()
    targets = torch.ones(2, dtype=torch.long)
    random = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(1))
    measured = {
        name: faithfulness(Given(BrightCorner()), batch, maps, targets)[0]
        for name, maps in (("oracle", oracle), ("random", random), ("inverted", 1 - oracle))
    }
    for better, worse in (("oracle", "random"), ("random", "inverted")):
        best, other = measured[better], measured[worse]
        assert best.morf < other.morf and best.lerf > other.lerf
        assert best.insertion > other.insertion and best.road > other.road
    assert measured["oracle"].ordered and not measured["inverted"].ordered
    assert measured["oracle"].morf < measured["oracle"].morf_random
    assert separation(Given(BrightCorner()), batch, oracle, targets).min() > 0.2
    assert separation(Given(BrightCorner()), batch, 1 - oracle, targets).max() < -0.2


def test_the_morf_curve_equals_quantus() -> None:
    batch, _ = scene(channels=1)
    maps = torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(2))
    targets = np.array([1, 1])
    model = BrightCorner(channels=1).eval()
    step = 400 // (len(SHARES) - 1)
    metric = quantus.PixelFlipping(
        features_in_step=step, perturb_baseline=0.0, abs=False, normalise=False, disable_warnings=True
    )
    curves = metric(
        model=model, x_batch=batch.numpy(), y_batch=targets, a_batch=maps[:, None].numpy(), softmax=True, device="cpu"
    )
    start = model(batch).softmax(1)[:, 1].tolist()
    for found, curve, first in zip(
        faithfulness(Given(model), batch, maps, torch.tensor(targets)), curves, start, strict=True
    ):
        assert found.morf == pytest.approx(np.trapezoid([first, *curve], dx=0.2), abs=1e-4)


@pytest.mark.parametrize(("size", "share"), [((12, 10), 0.6), ((33, 50), 0.9), ((64, 64), 0.5)])
def test_imputation_comes_nearer_to_pytorch_grad_cams_road_than_the_noise(size: tuple[int, int], share: float) -> None:
    generator = torch.Generator().manual_seed(3)
    batch = torch.rand(2, 3, *size, generator=generator)
    order = F.interpolate(torch.rand(2, 1, 5, 5, generator=generator), size, mode="bilinear")[:, 0]  # holes, as of maps
    gone = torch.stack([order[0] < order[0].quantile(share), torch.rand(size, generator=generator) < share])
    filled = impute(batch, gone, noise=0.0)
    for picture, mask, found in zip(batch, gone, filled, strict=True):
        peer = NoisyLinearImputer(noise=0.0)(picture, (~mask).float())
        assert float((found - peer).square().mean().sqrt()) < 0.005
        assert torch.equal(found[:, ~mask], picture[:, ~mask])
    drawn = impute(batch, gone) - filled
    assert float(drawn[gone[:, None].expand_as(drawn)].std()) == pytest.approx(0.01, rel=0.2)


def test_energy_inside_and_the_pointing_game_follow_their_definitions() -> None:
    mask = np.zeros((8, 8), bool)
    mask[:4, :4] = True
    map_ = np.zeros((8, 8))
    map_[1, 1], map_[7, 7] = 3, 1
    assert energy_inside(map_, mask) == pytest.approx(0.75)
    assert pointing_game(map_, mask) and not pointing_game(map_[::-1, ::-1], mask)
    assert energy_inside(np.zeros((2, 2)), mask) is None and energy_inside(map_, np.zeros((8, 8), bool)) is None


def test_edges_are_where_the_picture_changes() -> None:
    batch = torch.zeros(1, 3, 16, 16)
    batch[..., 8:] = 1
    found = edges(batch, (8, 8))[0]
    assert found[:, 3:5].min() > 0.4 and found[:, :2].max() == 0


def test_a_map_that_follows_the_weights_changes_when_they_are_randomised_and_edges_do_not() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 6),
    ).eval()  # fmt: skip
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = torch.randn(6, 3, 24, 24)

    def gradcam(changed: nn.Module, pictures: Tensor) -> Tensor:
        return attribute(Given(changed, "2"), pictures).maps

    maps = gradcam(model, batch)
    stages = [(name, [rank_correlation(*pair) for pair in zip(maps, gradcam(changed, batch), strict=True)])
              for name, changed in randomised(model)]  # fmt: skip
    assert [name for name, _ in stages][0] == "6" and len(stages) >= 3
    last = [value for value in stages[-1][1] if value is not None]
    assert np.abs(np.mean(last)) < 0.6
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert rank_correlation(np.ones((2, 2)), np.eye(2)) is None


@pytest.mark.slow
def test_the_command_measures_a_run_keeps_the_figures_and_tells_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = make_folder(tmp_path / "pictures", per_class=4)
    store = str(tmp_path / "store")
    assert main(["faithfulness", "--store", store]) == 2
    assert (
        main(["run", str(pictures), "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--store", store]) == 0
    )
    masks = tmp_path / "masks.csv"
    with masks.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "mask"])
        for path in pictures.rglob("*.png"):
            picture = Image.new("L", Image.open(path).size)
            picture.paste(255, (0, 0, 4, 4))
            picture.save(tmp_path / f"{path.stem}-{path.parent.name}.png")
            writer.writerow([path.relative_to(pictures).as_posix(), f"{path.stem}-{path.parent.name}.png"])
    capsys.readouterr()
    assert main(["faithfulness", "--store", store, "--sample", "5", "--masks", str(masks), "--format", "json"]) == 0
    told = {row["measure"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(told) >= {"morf", "lerf", "insertion", "road", "energy_inside", "pointing", "randomised", "ordered"}
    con = Store(tmp_path / "store").reader()
    found = queries.map_faithfulness(con, queries.run(con).name)
    assert found is not None and found.n == 5
    assert main(["faithfulness", "--store", store, "--sample", "1"]) == 2


def test_a_changed_classifier_is_not_measured_in_the_place_of_the_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, model = make_folder(tmp_path / "pictures", per_class=2), make_model(tmp_path)
    store = str(tmp_path / "store")
    main(["run", str(pictures), "--classifier", f"{model}:tiny", "--no-vlm", "--store", store])
    model.write_text(model.read_text() + "\n# changed\n")
    capsys.readouterr()
    assert main(["faithfulness", "--store", store]) == 2
    assert "not the one of run" in capsys.readouterr().err


@pytest.mark.slow
def test_the_best_method_is_chosen_by_the_measure_and_the_run_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = make_folder(tmp_path / "pictures", per_class=3)
    words = ["run", str(pictures), "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--method", "auto"]
    for _ in range(2):
        assert main([*words, "--store", str(tmp_path / "store")]) == 0
        assert "--method auto chose" in capsys.readouterr().err
    (record,) = Store(tmp_path / "store").run_records()
    assert record["settings"]["method"] != "auto" and record["settings"]["layer"]
