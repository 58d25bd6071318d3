"""The embedded text model: the published weights, real vectors, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from core import embedding
from core.embedding import Embedder, embedded_folder, load_embedder
from core.errors import RequestError


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder()


def copied(folder: Path) -> Path:
    """The model's folder with its weights linked, so that a test may change the rest."""
    target = folder / "model"
    shutil.copytree(embedded_folder(), target, ignore=shutil.ignore_patterns("*.safetensors"))
    (target / "model.safetensors").symlink_to(embedded_folder() / "model.safetensors")
    return target


def test_what_means_the_same_is_near(embedder: Embedder) -> None:
    vectors = embedder.embed(["a cow in a meadow", "cattle on grass", "a fire engine", ""])
    assert vectors.shape == (4, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    assert embedder.embed([]).shape == (0, 384)


def test_a_text_has_the_same_vector_alone_and_in_a_batch(embedder: Embedder) -> None:
    texts = ["a cow", "a very long text " * 100, "🐄 <b>bold</b>"]
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_same_model_in_a_folder_has_the_same_fingerprint(embedder: Embedder, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    assert load_embedder(str(folder)).fingerprint == embedder.fingerprint
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
    assert embedding._folder_fingerprint(folder) != embedder.fingerprint


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(embedding, "embedded_folder", lambda: folder)
    with pytest.raises(RequestError, match="not the published model's"):
        load_embedder()


def test_a_folder_that_can_carry_code_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(RequestError, match="can carry code"):
        load_embedder(str(folder))


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot load the text model") as caught:
        load_embedder(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_another_version_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "VERSION", "9.9.9")
    with pytest.raises(RequestError, match="only 9.9.9 was checked"):
        load_embedder()
