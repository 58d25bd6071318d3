"""How probable each label is: what the classifier says, tempered, together with what the features say.

Knows: arrays. Does not know: stores, pictures, names. `make bench-labels` measures it.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Codes = NDArray[np.int64]
ENOUGH = 20_000
"""Pictures that a temperature and a model of the features are fitted on at most."""
MOST_NUMBERS = 5_000_000
"""Probabilities that a temperature, which is one number, is fitted on at most."""
FOLDS, FEW_FOLDS = 5, 2
"""Models of the features: with more than ENOUGH pictures two of them are as good as five."""
LEAST = 10
"""Pictures that a class needs for a model of the features to know it, and for a threshold of its own."""
STRENGTH = 0.01
"""C of the logistic regression: strong shrinkage keeps it from learning the wrong labels."""
STEPS = 60
FLOOR = 1e-9


def softmax(logits: Floats) -> Floats:
    """Rows that sum to 1, (n, classes)."""
    raised = logits - logits.max(axis=1, keepdims=True)
    np.exp(raised, out=raised)  # in place: of 300,000 pictures and 100 classes every copy counts
    raised /= raised.sum(axis=1, keepdims=True)
    return np.asarray(raised)


def of_label(probabilities: Floats, labels: Codes) -> Floats:
    """The probability of each picture's label, (n,)."""
    return np.asarray(probabilities[np.arange(labels.size), labels])


TEMPERATURES = 0.05, 20.0
"""Between them the best temperature is searched for."""


def temperature(probabilities: Floats, labels: Codes) -> float:
    """The temperature by which logits must be divided to fit the labels best (Guo et al. 2017, arXiv 1706.04599).

    Fitted by the likelihood of the labels, (n,), under the probabilities, (n, classes); within `TEMPERATURES`.
    """
    from scipy.optimize import minimize_scalar  # here: it takes a while to load, and few reads need it

    step = max(1, labels.size // ENOUGH, probabilities.size // MOST_NUMBERS)
    logits, own = np.log(np.maximum(probabilities[::step], FLOOR)), labels[::step]

    def loss(log_t: float) -> float:
        return float(-np.log(np.maximum(of_label(softmax(logits / np.exp(log_t)), own), FLOOR)).mean())

    found = minimize_scalar(loss, bounds=(np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1])), method="bounded")
    return float(np.exp(found.x))


def tempered(probabilities: Floats, t: float) -> Floats:
    """Probabilities with their logits divided by t, (n, classes)."""
    logits = np.maximum(probabilities, FLOOR)
    np.log(logits, out=logits)
    logits /= t
    return softmax(logits)


def thresholds(probabilities: Floats, labels: Codes) -> Floats:
    """What each class's label usually gets, (classes,): the mean over pictures that carry it (Northcutt et al. 2021).

    A class with fewer than LEAST pictures has the mean over all.
    """
    own = of_label(probabilities, labels)
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.bincount(labels, weights=own, minlength=probabilities.shape[1])
    return np.where(counts >= LEAST, sums / np.maximum(counts, 1), own.mean() if own.size else 1.0)


def agreed(
    probabilities: Floats, labels: Codes, features: NDArray[np.float32] | None, groups: Codes | None = None
) -> Floats:
    """The geometric mean of what the classifier and a model of the features say of each class, (n, classes).

    The model of the features is a logistic regression fitted to the given labels of other pictures than those it is
    asked about, once with all and once without what confident learning then doubts (Northcutt et al. 2021, JAIR
    70:1373; `cleanlab`). Where there are no features, or too few pictures, the tempered classifier speaks alone.

    Args:
        probabilities: Shape (n, classes).
        labels: Shape (n,), places of classes.
        features: Shape (n, d), rows of NaN where there are none; None: no features.
        groups: Shape (n,): pictures of one group (near-duplicates) are never fitted and asked apart.
    """
    said = tempered(probabilities, temperature(probabilities, labels))
    if features is None:
        return said
    usable = np.isfinite(features).all(axis=1)
    common = np.bincount(labels[usable], minlength=said.shape[1]) >= LEAST
    usable &= common[labels]
    rows, classes = np.flatnonzero(usable), np.flatnonzero(common)
    if classes.size < 2:
        return said
    scaled = features[rows] - features[rows].mean(axis=0)
    scaled /= np.maximum(scaled.std(axis=0), 1e-6)
    place = np.searchsorted(classes, labels[rows])
    fold = (np.arange(rows.size) if groups is None else groups[rows]) % (FOLDS if rows.size <= ENOUGH else FEW_FOLDS)
    whole = rows.size == labels.size and classes.size == said.shape[1]  # then nothing large is copied
    part = (slice(None), slice(None)) if whole else np.ix_(rows, classes)
    known = said[part]
    total = known.sum(axis=1, keepdims=True)
    known = np.maximum(known, FLOOR)
    np.log(known, out=known)
    few = np.arange(0, rows.size, -(-rows.size // ENOUGH))
    first = softmax((known[few] + np.log(_seen(scaled, place, fold, fitted=few, asked=few))) / 2)
    sure = few[~_doubted(place[few], first)]
    seen = _seen(scaled, place, fold, fitted=sure, asked=np.arange(rows.size))
    known += np.log(seen, out=seen)
    known /= 2
    both = softmax(known)
    both *= total
    said[part] = both
    return said


def _doubted(labels: Codes, probabilities: Floats) -> NDArray[np.bool_]:
    """Off the diagonal of the confident joint, (n,); classes must all be there."""
    from cleanlab.filter import find_label_issues  # here: it brings scikit-learn along

    present, place = np.unique(labels, return_inverse=True)
    said = probabilities[:, present] / probabilities[:, present].sum(axis=1, keepdims=True)
    return np.asarray(find_label_issues(place, said, filter_by="confident_learning", n_jobs=1), dtype=bool)


def _seen(features: NDArray[np.float32], labels: Codes, fold: Codes, *, fitted: Codes, asked: Codes) -> Floats:
    """Probabilities from the features, (asked, classes), of each fold by a model that is fitted to the others."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    said = np.full((asked.size, int(labels.max()) + 1), FLOOR, dtype=np.float32)
    for number in np.unique(fold):
        others, own = fitted[fold[fitted] != number], np.flatnonzero(fold[asked] == number)
        if not own.size or np.unique(labels[others]).size < 2:
            continue
        # One thread: such small products take longer to share out than to do. The last steps change the order little.
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=STRENGTH, max_iter=STEPS).fit(features[others], labels[others])
        said[np.ix_(own, model.classes_)] = np.maximum(model.predict_proba(features[asked[own]]), FLOOR)
    return said
