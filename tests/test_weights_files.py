"""Weights whose values cannot be taken as they are: noted where they are cast, refused where they cannot be used."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.classifier.loading import Classifier, load_classifier
from core.errors import RequestError
from tests.support import tiny_models

SPEC = f"{tiny_models.__file__}:in_place"


def state() -> dict[str, Tensor]:
    return {name: value for name, value in tiny_models.seeded(tiny_models.InPlace).state_dict().items() if value.ndim}


def loaded(folder: Path, tensors: dict[str, Tensor]) -> Classifier:
    torch.save(tensors, folder / "w.pt")
    return load_classifier(SPEC, weights=folder / "w.pt", device="cpu")


def refused(file: Path) -> str:
    with pytest.raises(RequestError) as caught:
        load_classifier(SPEC, weights=file, device="cpu")
    assert file.name in str(caught.value) and str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.bool, torch.float64])
def test_weights_that_are_cast_are_noted_with_their_type_and_how_many(tmp_path: Path, kind: torch.dtype) -> None:
    count = len(state())
    notes = loaded(tmp_path, {name: value.to(kind) for name, value in state().items()}).notes
    word = str(kind).removeprefix("torch.")
    assert any(
        f"{count} of the model's tensors as {word} where it has float32 (first: stem.0.weight)" in note
        and "predictions may differ" in note
        for note in notes
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_whose_every_value_the_model_can_hold_are_not_noted(tmp_path: Path, kind: torch.dtype) -> None:
    notes = loaded(tmp_path, {name: value.to(kind) for name, value in state().items()}).notes
    assert not any("cast" in note for note in notes)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda value: value.to_sparse(), "stem.0.weight is sparse"),
        (lambda value: value.to("meta"), "has no values"),
        (lambda value: value.to(torch.complex64), "holds complex numbers"),
        (lambda value: torch.full_like(value, float("nan")), "no numbers (NaN, first in stem.0.weight)"),
    ],
)
def test_weights_that_no_model_can_use_are_refused_by_name(tmp_path: Path, changed: object, words: str) -> None:
    torch.save({name: changed(value) for name, value in state().items()}, tmp_path / "w.pt")  # type: ignore[operator]
    assert words in refused(tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "torchscript"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"folder.{suffix}").mkdir()
    (tmp_path / f"zeros.{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "zeros"):
        path = tmp_path / f"{name}.{suffix}"
        if suffix == "torchscript":
            with pytest.raises(RequestError, match="a folder, a pipe or a device, not a TorchScript file"):
                load_classifier(f"torchscript:{path}")
        else:
            assert "a folder, a pipe or a device, not a weights file" in refused(path)


def test_a_file_that_unpacks_to_many_times_its_size_is_refused(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name) if not name.endswith("data/0") else bytes(2**24))
    assert "would unpack to 0.02 GB" in refused(tmp_path / "bomb.pt")


def test_names_with_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    odd = {f"{name}\x1b[2J\n\x00": value for name, value in state().items()}
    torch.save(odd, tmp_path / "w.pt")
    assert "unknown to it" in refused(tmp_path / "w.pt")
    header = b'{"a\\u001b[2J":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}'
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert "no safetensors file" in refused(tmp_path / "w.safetensors")
