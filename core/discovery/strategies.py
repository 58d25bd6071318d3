"""Ways in which a classifier sees a class: mixtures of what it saw, one per predicted class.

In the spirit of SpRAy (Lapuschkin et al. 2019, arXiv 1902.10178) and PCX (Dreyer et al. 2023, arXiv 2311.16681). No
label enters, so that labels can test afterwards whether a component is wrong more often.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

Matrix = NDArray[np.float32]
Codes = NDArray[np.int64]
MOST_COMPONENTS = 6
DIMENSIONS = 20
PER_COMPONENT = 12
"""Pictures a component needs; a class with fewer than two of them has one way."""
FITTED = 4_000
"""Pictures of a class that a mixture is fitted on at most."""


def components(vectors: Matrix, answers: Codes, *, seed: int = 0) -> Codes:
    """Which component of its predicted class each picture belongs to.

    Per class: standardised, principal components, Gaussian mixture with diagonal covariances, the number of components
    (two or more) by the Bayesian information criterion.

    Args:
        vectors: (n, d) sketches.
        answers: (n,) predicted class, -1 for none.
        seed: of the mixtures.

    Returns:
        Component numbers (n,), the commonest of a class 0, -1 without an answer.
    """
    found = np.full(len(vectors), -1, dtype=np.int64)
    for answer in np.unique(answers[answers >= 0]):
        own = np.flatnonzero(answers == answer)
        found[own] = _mixture(vectors[own], seed)
    return found


def _mixture(vectors: Matrix, seed: int) -> Codes:
    n = len(vectors)
    most = min(MOST_COMPONENTS, n // PER_COMPONENT)
    spread = vectors.std(axis=0)
    usual = (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1)
    if most < 2 or not spread.any():
        return np.zeros(n, dtype=np.int64)
    chosen = np.random.default_rng(seed).permutation(n)[:FITTED]
    dimensions = min(DIMENSIONS, max(2, len(chosen) // PER_COMPONENT), vectors.shape[1])
    projection = PCA(dimensions, random_state=seed).fit(usual[chosen])
    reduced = projection.transform(usual)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixtures = [
            GaussianMixture(k, covariance_type="diag", n_init=3, reg_covar=1e-3, random_state=seed).fit(reduced[chosen])
            for k in range(2, most + 1)
        ]
    best = min(mixtures, key=lambda mixture: mixture.bic(reduced[chosen]))
    codes = np.asarray(best.predict(reduced), dtype=np.int64)
    order = np.argsort(-np.bincount(codes, minlength=best.n_components), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return np.asarray(place[codes])
