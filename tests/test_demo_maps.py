"""On the demo world, whose objects are known: the maps that --method auto chooses beat noise and an edge detector."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from core import images
from core.attribution.attribute import attribute
from core.attribution.faithfulness import edges, energy_inside, separation
from core.classifier.loading import load_classifier
from core.images.reading import first_picture
from core.pipeline.auto import choose_method
from core.pipeline.reading import model_input
from core.statistics import mean_interval

pytestmark = pytest.mark.slow
DEMO = Path(__file__).parent.parent / "data" / "demo"
COUNT, PROBED = 60, 12


def test_the_chosen_maps_lie_on_the_objects_more_than_noise_and_edges_do_and_order_the_pixels() -> None:
    scan = images.scan(DEMO / "evaluation")
    classifier = load_classifier(
        f"{DEMO / 'classifier.py'}:demo_classifier", labels=scan.labels, device="cpu", probe=first_picture(scan.entries)
    )
    entries = scan.entries[:: len(scan.entries) // (COUNT + PROBED)]
    batch = torch.stack([model_input(entry, classifier) for entry in entries])
    probe = torch.arange(len(batch)) % (COUNT // PROBED + 1) == 0
    method, classifier, _ = choose_method(classifier, batch[probe][:PROBED])
    entries = [entry for entry, taken in zip(entries, probe.tolist(), strict=True) if not taken]
    batch = batch[~probe]  # measured on others than it was chosen by
    answer = attribute(classifier, batch, method=method)
    size = answer.maps.shape[1:]
    assert not any(answer.flat)
    with (DEMO / "truth" / "evaluation.csv").open(newline="") as file:
        masks = {row["path"]: DEMO / "truth" / row["mask"] for row in csv.DictReader(file)}
    objects = [np.asarray(images.decode(masks[entry.relative_paths[0]]).convert("L")) > 0 for entry in entries]
    noise = np.random.default_rng(0).random((len(entries), *size))
    inside = [
        np.array([energy_inside(map_, mask) for map_, mask in zip(maps, objects, strict=True)], dtype=float)
        for maps in (answer.maps.numpy(), edges(batch, size).numpy(), noise)
    ]
    assert mean_interval(inside[0] - inside[1]).low > 0
    assert mean_interval(inside[0] - inside[2]).low > 0
    ordered = separation(classifier, batch, answer.maps, answer.targets) > 0
    assert ordered.float().mean() >= 0.9
