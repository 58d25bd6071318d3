"""Models of torchvision, timm and Hugging Face by their SPEC: preprocessing, names and target layer, all offline."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

from core.attribution.attribute import attribute
from core.classifier.loading import load_classifier, stack_by_shape
from core.errors import RequestError
from core.images import decode, scan

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
CIFAR = SHARED / "cifar10"
LABELS = ["camel", "cow", "horse"]


def noise(width: int = 300, height: int = 200) -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8))


# --- torchvision ----------------------------------------------------------------------------------------------------


def test_an_unknown_architecture_offers_the_nearest() -> None:
    with pytest.raises(RequestError, match="torchvision has no classifier 'resnet51'; nearest: resnet"):
        load_classifier("torchvision:resnet51")
    with pytest.raises(RequestError, match="no classifier 'fasterrcnn_resnet50_fpn'"):
        load_classifier("torchvision:fasterrcnn_resnet50_fpn")


@pytest.mark.slow
def test_the_published_weights_bring_their_own_preprocessing(tmp_path: Path) -> None:
    state = resnet18().state_dict()
    for name, noted in (("resnet18-f37072fd.pth", False), ("mine.pth", True)):
        torch.save(state, tmp_path / name)
        found = load_classifier("torchvision:resnet18", weights=tmp_path / name, device="cpu")
        assert any("Preprocessing is that of" in note for note in found.notes) == noted
        assert found.transform(noise()).shape == (3, 224, 224)
    assert "resize_size=[256]" in repr(found.transform)
    assert "resize_size=[232]" in repr(load_classifier("torchvision:resnext50_32x4d", device="cpu").transform)


# --- timm -----------------------------------------------------------------------------------------------------------


def test_timm_brings_preprocessing_from_its_own_configuration_and_the_names_of_imagenet() -> None:
    pytest.importorskip("timm")
    found = load_classifier("timm:test_vit", device="cpu")
    assert "mean=tensor([0.5000, 0.5000, 0.5000])" in repr(found.transform)
    assert found.transform(noise()).shape == (3, 160, 160)
    assert (found.class_names[0], len(found.class_names)) == ("tench, Tinca tinca", 1000)
    assert (found.layer, found.layout.prefix) == ("blocks.5.norm1", 1)
    assert "untrained" in found.notes[0]
    assert found.fingerprint == load_classifier("timm:test_vit", device="cpu").fingerprint


def test_a_timm_checkpoint_with_other_classes_loads(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "mine.pt")
    found = load_classifier("timm:test_resnet", weights=tmp_path / "mine.pt", labels=LABELS, device="cpu")
    assert found.class_names == tuple(LABELS)


def test_an_unknown_timm_architecture_or_a_hub_id_is_refused_at_once() -> None:
    if importlib.util.find_spec("timm") is None:
        with pytest.raises(RequestError, match="timm is not installed here .*: pip install timm"):
            load_classifier("timm:resnet18")
        return
    with pytest.raises(RequestError, match="timm has no architecture 'resnet19'; nearest: resnet18"):
        load_classifier("timm:resnet19")
    with pytest.raises(RequestError, match="timm has no architecture 'hf-hub:timm/resnet18'"):
        load_classifier("timm:hf-hub:timm/resnet18")


# --- Hugging Face ---------------------------------------------------------------------------------------------------


def save(folder: Path, *, dtype: torch.dtype = torch.float32, **settings: Any) -> None:
    """A tiny Hugging Face classifier with its image processor, as `save_pretrained` leaves them."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=64, patch_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        **settings,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).to(dtype).save_pretrained(folder)
    processor = transformers.ViTImageProcessor(
        size={"height": 64, "width": 64}, image_mean=[0.2] * 3, image_std=[0.5] * 3
    )
    processor.save_pretrained(folder)


def test_a_hugging_face_folder_brings_its_names_processor_and_layer(tmp_path: Path) -> None:
    save(tmp_path, id2label={0: "cow, moo", 1: "camel", 2: "horse"})
    found = load_classifier(f"hf:{tmp_path}", labels=LABELS, device="cpu")
    assert found.class_names == ("cow", "camel", "horse")
    white = found.transform(Image.new("RGB", (90, 40), "white"))
    assert white.shape == (3, 64, 64)
    assert torch.allclose(white, torch.full_like(white, (1 - 0.2) / 0.5))
    assert (found.layer, found.layout.prefix) == ("model.vit.layers.1.layernorm_before", 1)
    answer = attribute(found, found.transform(noise())[None])
    assert (tuple(answer.maps.shape), answer.reasons) == ((1, 4, 4), [None])
    assert found.fingerprint == load_classifier(f"hf:{tmp_path}", labels=LABELS, device="cpu").fingerprint


def test_a_half_precision_checkpoint_runs_as_it_is(tmp_path: Path) -> None:
    save(tmp_path, dtype=torch.bfloat16, num_labels=3)
    found = load_classifier(f"hf:{tmp_path}", labels=LABELS, device="cpu")
    batch = found.transform(noise())[None]
    assert batch.dtype == next(found.model.parameters()).dtype == torch.bfloat16
    assert attribute(found, batch).reasons == [None]


def test_a_folder_or_an_id_that_cannot_be_loaded_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    for name, words in (
        (str(tmp_path), "cannot be loaded"),
        (str(tmp_path / "nowhere"), "is no folder, nor the id of a model in the hub's cache"),
        ("nobody/no-such-model", "fetch it once with `hf download ID`"),
    ):
        with pytest.raises(RequestError, match=words) as caught:
            load_classifier(f"hf:{name}")
        assert "\n" not in str(caught.value)


# --- real pictures --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not CIFAR.is_dir(), reason="needs ../shared/data/cifar10")
@pytest.mark.parametrize("function", ["resnet20", "resnet20_without_weights"])
def test_a_real_classifier_reaches_its_reference_on_real_pictures(function: str) -> None:
    weights = CIFAR / "resnet20-12fca82f.th" if function == "resnet20_without_weights" else None
    found = scan(CIFAR / "test")
    classifier = load_classifier(
        f"{CIFAR / 'cifar_resnet.py'}:{function}",
        labels=found.labels,
        weights=weights,
        probe=decode(found.entries[0].path),
    )
    correct = flat = 0
    for start in range(0, len(found.entries), 250):
        part = found.entries[start : start + 250]
        answer = attribute(classifier, torch.stack([classifier.transform(decode(entry.path)) for entry in part]))
        names = [classifier.class_names[index] for index in answer.logits.argmax(1)]
        correct += sum(name == entry.label for name, entry in zip(names, part, strict=True))
        flat += sum(answer.flat)
    assert (classifier.layer, len(found.entries), correct) == ("layer3", 2000, 1627)
    assert flat == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_an_untrained_torchvision_network_runs_on_the_photographs() -> None:
    found = scan(SHARED / "photos")
    classifier = load_classifier("torchvision:resnet50", labels=found.labels)
    assert set(found.labels) <= set(classifier.class_names)
    tensors = [classifier.transform(decode(entry.path)) for entry in found.entries[:8]]
    ((_, batch),) = stack_by_shape(tensors)
    answer = attribute(classifier, batch)
    assert answer.maps.shape == (8, 7, 7)
    assert answer.reasons == [None] * 8
