"""Methods that need no gradient: the model is asked again about masked pictures or ablated channels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from core.attribution.cam import enlarge, weighted
from core.attribution.forward_pass import ForwardPass
from core.attribution.head import frozen_eval
from core.errors import ModelError, translate_errors
from core.model_outputs import first, logits_of, with_first

OCCLUDER = 8
"""An occluding square is this fraction of the picture's side."""


def score_cam(seen: ForwardPass) -> Tensor:
    """Score-CAM (Wang et al. 2020, arXiv 1910.01279, equations 2 to 5); one forward pass per channel that varies.

    H_k = U(A_k) enlarged to the input and stretched to 0..1;  w = softmax_k(S(X o H_k) - S(X));
    L = ReLU(sum_k w_k A_k).

    Channels that are zero everywhere add nothing to L whatever their weight and are not asked about; leaving them out
    of the softmax scales the map as a whole. pytorch-grad-cam enlarges with `align_corners=True`, torch-cam stretches
    before it enlarges; the authors' code, and this, enlarge between cell centres, then stretch.
    """
    return torch.stack([_score_cam(seen, index) for index in range(seen.batch.shape[0])])


def _score_cam(seen: ForwardPass, index: int) -> Tensor:
    """The map (h, w) of one picture."""
    activations, picture = seen.grid[index], seen.batch[index]
    alive = activations.flatten(1).abs().amax(dim=1).gt(0).nonzero()[:, 0]
    gains = []
    for chunk in torch.split(alive, seen.copies):
        masks = enlarge(activations[chunk], picture.shape[-2:])  # (n, H, W)
        low, high = masks.flatten(1).amin(dim=1), masks.flatten(1).amax(dim=1)
        masks = (masks - low[:, None, None]) / (high - low).clamp(min=1e-8)[:, None, None]
        logits = seen.predict(picture * masks[:, None].to(picture.dtype))
        gains.append(seen.target.of(logits, torch.full_like(chunk, index)) - seen.scores[index])
    if not gains:
        return torch.zeros_like(activations[0])
    return weighted(torch.cat(gains).softmax(dim=0)[None], activations[alive][None])[0]


def ablation_cam(seen: ForwardPass) -> Tensor:
    """Ablation-CAM (Desai & Ramaswamy 2020, WACV, equations 5 and 6); the head once per channel, the backbone once.

    w_k = (S - S_k) / |S| with S_k the score after channel k is set to zero;  L = ReLU(sum_k w_k A_k).

    The paper divides by S; where the logit S is negative that would turn evidence for the class into evidence against
    it, so the sign of the drop is kept. pytorch-grad-cam sets a channel that is not behind a ReLU far below its
    smallest value instead of to zero; the paper, and this, set it to zero. Channels that are zero have no weight.
    """
    return torch.stack([_ablation_cam(seen, index) for index in range(seen.batch.shape[0])])


def _ablation_cam(seen: ForwardPass, index: int) -> Tensor:
    """The map (h, w) of one picture."""
    activations = seen.grid[index]
    alive = activations.flatten(1).abs().amax(dim=1).gt(0).nonzero()[:, 0]
    if not len(alive):
        return torch.zeros_like(activations[0])
    drops = [seen.scores[index] - seen.target.of(logits, torch.full_like(chunk, index))
             for chunk, logits in _without(seen, index, alive)]  # fmt: skip
    return weighted(torch.cat(drops)[None], activations[alive][None])[0]


def _without(seen: ForwardPass, index: int, channels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(channels, logits with each of them set to zero), a memory budget's worth at a time.

    The model sees one picture, and the target layer's output becomes n ablated copies: everything before the layer is
    computed once, and a connection around it broadcasts. Where that fails (a concatenation), the picture is repeated.
    """
    repeat = False
    for chunk in torch.split(channels, seen.copies):
        if not repeat:
            try:
                yield chunk, _ablated(seen, index, chunk, copies=1)
                continue
            except ModelError:
                repeat = True
        yield chunk, _ablated(seen, index, chunk, copies=len(chunk))


def _ablated(seen: ForwardPass, index: int, channels: Tensor, *, copies: int) -> Tensor:
    """Logits (n, K) of picture `index` with channel k set to zero, for each k of `channels` (n,)."""
    layout = seen.classifier.layout

    def ablate(module: nn.Module, inputs: object, output: object) -> object:
        found = first(output)
        grid = layout.to_grid(found.detach(), seen.batch.shape[-2:])  # (copies, C, h, w)
        changed = grid[:1].repeat(len(channels), 1, 1, 1)
        changed[torch.arange(len(channels)), channels] = 0
        return with_first(output, layout.from_grid(changed, found))

    model = seen.classifier.model
    handle = model.get_submodule(seen.classifier.layer).register_forward_hook(ablate)
    try:
        with frozen_eval(model), torch.no_grad(), translate_errors("the model failed with a channel set to zero"):
            output = model(seen.batch[index : index + 1].repeat(copies, 1, 1, 1))
    finally:
        handle.remove()
    return logits_of(output, len(channels)).float()


def occlusion(seen: ForwardPass) -> Tensor:
    """Occlusion (Zeiler & Fergus 2014, arXiv 1311.2901): the score lost when a square is replaced by the mean colour.

    Squares of an eighth of the side move in steps of half a square; L = ReLU(mean over squares over a cell of S - S_q).
    """
    height, width = seen.batch.shape[-2:]
    size = (max(1, height // OCCLUDER), max(1, width // OCCLUDER))
    step = (max(1, size[0] // 2), max(1, size[1] // 2))
    rows = [(top, left) for top in _starts(height, size[0], step[0]) for left in _starts(width, size[1], step[1])]
    return torch.stack([_occlusion(seen, index, rows, size) for index in range(seen.batch.shape[0])])


def _starts(length: int, size: int, step: int) -> list[int]:
    """Where squares begin; the last one ends at the border."""
    return sorted({*range(0, length - size + 1, step), length - size})


def _occlusion(seen: ForwardPass, index: int, squares: list[tuple[int, int]], size: tuple[int, int]) -> Tensor:
    """Score lost per pixel (H, W) of one picture, averaged over the squares that covered it."""
    picture = seen.batch[index]
    lost, covered = (torch.zeros(picture.shape[-2:], device=picture.device) for _ in range(2))
    colour = picture.mean(dim=(1, 2))[:, None, None]
    for start in range(0, len(squares), seen.copies):
        some = squares[start : start + seen.copies]
        copies = picture.repeat(len(some), 1, 1, 1)
        for copy, (top, left) in zip(copies, some, strict=True):
            copy[:, top : top + size[0], left : left + size[1]] = colour
        rows = torch.full((len(some),), index, device=picture.device)
        drops = seen.scores[index] - seen.target.of(seen.predict(copies), rows)
        for drop, (top, left) in zip(drops, some, strict=True):
            lost[top : top + size[0], left : left + size[1]] += drop
            covered[top : top + size[0], left : left + size[1]] += 1
    return (lost / covered.clamp(min=1)).relu()
