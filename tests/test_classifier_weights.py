"""Weights for a classifier: every form people save, and what is refused with which words."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18

from core.classifier.loading import load_classifier
from core.errors import RequestError
from tests.support.users_model import made, user, write_model_file

LABELS = ["camel", "cow", "horse"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model_file(tmp_path)


@pytest.mark.parametrize("form", ["plain", "state_dict", "module.", "both", "compiled", "safetensors"])
def test_weights_load_from_every_form_people_save(folder: Path, form: str) -> None:
    state = made(folder).state_dict()
    prefixed = {f"module.{name}": value for name, value in state.items()}
    file = folder / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(state, file)
    else:
        forms = {
            "plain": state,
            "state_dict": {"state_dict": state, "epoch": 3},
            "module.": prefixed,
            "both": {"state_dict": prefixed, "best_prec1": 0.9},
            "compiled": {f"_orig_mod.{name}": value for name, value in prefixed.items()},
        }
        torch.save(forms[form], file)
    found = load_classifier(user(folder, "plain"), labels=LABELS, weights=file, device="cpu")
    assert torch.equal(found.model.state_dict()["head.weight"], state["head.weight"])


def test_class_names_beside_the_weights_are_used(folder: Path) -> None:
    state = made(folder).state_dict()
    torch.save({"model": state, "class_to_idx": {"horse": 0, "camel": 1, "cow": 2}}, folder / "w.pt")
    found = load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "w.pt")
    assert found.class_names == ("horse", "camel", "cow")


class Bomb:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def test_a_pickle_that_carries_code_is_refused_and_not_run(folder: Path) -> None:
    (folder / "raw.pt").write_bytes(pickle.dumps({"state_dict": Bomb(folder / "ran")}))
    torch.save({"state_dict": Bomb(folder / "ran")}, folder / "zip.pt")
    torch.save(nn.Sequential(nn.Linear(2, 2)), folder / "whole.pt")
    (folder / "old.pt").write_bytes(pickle.dumps({"state_dict": Bomb(folder / "ran")}, protocol=2))
    for name in ("raw.pt", "old.pt", "zip.pt", "whole.pt"):
        with pytest.raises(RequestError, match="carries code or objects besides tensors and was refused") as caught:
            load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / name)
        assert "weights_only=False" not in str(caught.value), "nobody is told how to run it"
    assert not (folder / "ran").exists()


def test_files_that_are_no_weights_are_refused(folder: Path) -> None:
    torch.save(made(folder).state_dict(), folder / "whole.pt")
    whole = (folder / "whole.pt").read_bytes()
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "text.pt").write_text("version https://git-lfs.github.com/spec/v1")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "bad.safetensors").write_bytes(b"\x00" * 100)
    for name in ("cut.pt", "text.pt", "empty.pt"):
        with pytest.raises(RequestError, match="is damaged"):
            load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / name)
    with pytest.raises(RequestError, match="no safetensors file"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "bad.safetensors")
    with pytest.raises(RequestError, match="no such weights file"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "gone.pt")
    torch.save({"epoch": 3}, folder / "none.pt")
    with pytest.raises(RequestError, match="holds no tensors"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "none.pt")
    torch.save(torch.zeros(3), folder / "tensor.pt")
    with pytest.raises(RequestError, match="holds a Tensor"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "tensor.pt")


def test_weights_that_do_not_fit_say_how(folder: Path) -> None:
    torch.save(made(folder, width=9).state_dict(), folder / "wide.pt")
    torch.save(resnet18().state_dict(), folder / "other.pt")
    with pytest.raises(RequestError, match=r"another shape \(first: features.0.weight is \(9, 3, 3, 3\), not \(6,"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "wide.pt")
    with pytest.raises(RequestError, match=r"6 of its 6 tensors are missing .*; \d+ are unknown to it"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "other.pt")


@pytest.mark.slow
def test_fine_tuned_torchvision_weights_bring_their_number_of_classes(tmp_path: Path) -> None:
    tuned = resnet18(num_classes=3)
    torch.save(tuned.state_dict(), tmp_path / "w.pt")
    found = load_classifier("torchvision:resnet18", labels=LABELS, weights=tmp_path / "w.pt", device="cpu")
    assert found.class_names == ("camel", "cow", "horse")
    assert torch.equal(found.model.state_dict()["fc.bias"], tuned.state_dict()["fc.bias"])
    assert not any("untrained" in note for note in found.notes)
