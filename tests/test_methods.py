"""Every attribution method against its paper and against the libraries people use, in fp32 to 1e-4."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchcam.methods as torch_cam
from captum.attr import DeepLift, GuidedGradCam, IntegratedGradients, Occlusion
from pytorch_grad_cam import AblationCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

from core.attribution import causal, pixels, smooth
from core.attribution.attribute import attribute
from core.attribution.cam import eigencam
from core.attribution.methods import METHODS
from core.classifier.layouts import Layout
from core.errors import ModelError, RequestError
from tests.support.given import Given
from tests.support.nets import PooledNet, SharedReluNet

SLOW_FORMULAS = {"rollout", "attention-gradient"}
FOR_CNN = sorted(set(METHODS) - SLOW_FORMULAS - {"cam"})


def network(make: Callable[[], nn.Module] = SharedReluNet, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return make().eval()


def pictures(count: int = 3, side: int = 16, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def stretched(maps: Tensor | np.ndarray) -> np.ndarray:
    """Maps (B, h, w) from 0 to 1, as the peers give them."""
    values = np.asarray(maps, dtype=np.float64)
    low = values.min(axis=(1, 2), keepdims=True)
    return (values - low) / (values.max(axis=(1, 2), keepdims=True) - low)


def ours(model: nn.Module, batch: Tensor, method: str) -> tuple[np.ndarray, Tensor]:
    answer = attribute(Given(model), batch, method=method)
    assert answer.reasons == [None] * len(batch)
    return stretched(answer.maps), answer.targets


def pytorch_grad_cam(kind: type, model: nn.Module, batch: Tensor, targets: Tensor) -> np.ndarray:
    """Its map at the layer's own resolution."""
    with kind(model=model, target_layers=[model.features]) as peer:
        found = peer(input_tensor=batch, targets=[ClassifierOutputTarget(int(t)) for t in targets])  # (B, H, W)
    return np.asarray(found)


def torch_cam_maps(kind: type, model: nn.Module, batch: Tensor, targets: Tensor) -> np.ndarray:
    with kind(model, "features") as peer:
        scores = model(batch)
        (found,) = peer(targets.tolist(), scores)
    return found.detach().numpy()


PGC = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "layercam": LayerCAM,
    "xgradcam": XGradCAM,
    "hirescam": HiResCAM,
    "scorecam": ScoreCAM,
    "ablationcam": AblationCAM,
}
TORCH_CAM = {
    "gradcam": torch_cam.GradCAM,
    "layercam": torch_cam.LayerCAM,
    "xgradcam": torch_cam.XGradCAM,
    "scorecam": torch_cam.ScoreCAM,
}


@pytest.mark.parametrize("method", PGC)
def test_a_shared_method_equals_pytorch_grad_cam(method: str) -> None:
    """At the input's own resolution, where no enlarging differs."""
    model, batch = network(lambda: SharedReluNet(stride=1)), pictures()
    maps, targets = ours(model, batch, method)
    peer = pytorch_grad_cam(PGC[method], model, batch, targets)
    assert np.abs(maps - stretched(peer)).max() < 1e-4


@pytest.mark.parametrize("method", TORCH_CAM)
def test_a_shared_method_equals_torch_cam(method: str) -> None:
    model, batch = network(lambda: SharedReluNet(stride=1)), pictures()
    maps, targets = ours(model, batch, method)
    assert np.abs(maps - stretched(torch_cam_maps(TORCH_CAM[method], model, batch, targets))).max() < 1e-4


def test_cam_equals_torch_cam_and_grad_cam_where_it_is_defined_and_is_refused_elsewhere() -> None:
    model, batch = network(PooledNet), pictures()
    maps, targets = ours(model, batch, "cam")
    with torch_cam.CAM(model, "features", "head") as peer:
        model(batch)
        (found,) = peer(targets.tolist(), normalized=False)
    assert np.abs(maps - stretched(found.relu().detach())).max() < 1e-4
    assert np.abs(maps - ours(model, batch, "gradcam")[0]).max() < 1e-4
    with pytest.raises(RequestError, match="use gradcam"):
        attribute(Given(network()), batch, method="cam")


def test_score_cam_stretches_after_enlarging_as_the_paper_does_and_the_peers_do_not() -> None:
    model, batch = network(), pictures(1)
    maps, targets = ours(model, batch, "scorecam")
    with torch.no_grad():
        activations = model.features(model.relu(model.stem(batch)))  # (1, 12, 8, 8)
        masks = F.interpolate(activations, size=16, mode="bilinear", align_corners=False)[0]
        masks = (masks - masks.amin((1, 2), keepdim=True)) / (
            masks.amax((1, 2), keepdim=True) - masks.amin((1, 2), keepdim=True)
        ).clamp(min=1e-8)
        weights = model(batch * masks[:, None])[:, targets[0]].softmax(0)
        paper = torch.einsum("k,kij->ij", weights, activations[0]).relu()[None]
    assert np.abs(maps - stretched(paper)).max() < 1e-4
    assert np.abs(stretched(torch_cam_maps(torch_cam.ScoreCAM, model, batch, targets)) - stretched(paper)).max() > 1e-3


def test_ablation_cam_keeps_evidence_for_a_class_whose_logit_is_negative() -> None:
    model, batch = network(lambda: SharedReluNet(stride=1)), pictures(1)
    worst = model(batch).argmin(1)
    assert model(batch)[0, worst] < 0
    found = attribute(Given(model), batch, method="ablationcam", target=worst).maps
    with torch.no_grad():
        activations = model.features(model.relu(model.stem(batch)))
        scores = []
        for channel in range(12):
            changed = activations.clone()
            changed[:, channel] = 0
            scores.append(model.head(F.relu(changed - 0.05).mean((2, 3)))[0, worst] * 5000)
        drops = model(batch)[0, worst] - torch.cat(scores)
    paper = torch.einsum("k,kij->ij", drops, activations[0]).relu()
    assert torch.allclose(found[0], paper / paper.max(), atol=1e-4)


def test_eigen_cam_is_the_papers_and_equals_the_peer_only_where_activations_are_centred() -> None:
    activations = torch.rand(1, 6, 4, 4, generator=torch.Generator().manual_seed(2))
    flat = activations[0].flatten(1).T.double()
    first = np.linalg.svd(flat.numpy())[2][0]
    paper = np.abs(flat.numpy() @ first).reshape(4, 4)  # all of one sign: activations are not negative
    assert np.allclose(eigencam(activations)[0], paper, atol=1e-4)


def test_smooth_grad_cam_plus_plus_without_noise_is_grad_cam_plus_plus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smooth, "SPREAD", 0.0)
    model, batch = network(), pictures()
    smoothed, plain = (attribute(Given(model), batch, method=name).maps for name in ("smoothgradcam++", "gradcam++"))
    assert torch.allclose(smoothed, plain, atol=1e-4)


def test_grad_cam_plus_plus_divides_as_the_paper_does_and_torch_cam_does_not() -> None:
    """torch-cam 0.5 divides a copy of alpha and throws it away: its weights are sums of G^2 ReLU(G)."""
    model, batch = network(), pictures()
    maps, targets = ours(model, batch, "gradcam++")
    peer = stretched(torch_cam_maps(torch_cam.GradCAMpp, model, batch, targets))
    activations, gradients = activations_and_gradients(model, batch, targets)
    undivided = torch.einsum("bk,bkij->bij", (gradients**2 * gradients.relu()).sum((2, 3)), activations).relu()
    assert np.abs(peer - stretched(undivided)).max() < 1e-4 < np.abs(peer - maps).max()


def activations_and_gradients(model: nn.Module, batch: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """A and dS/dA (B, C, h, w) of `features`, by the graph of the whole network."""
    kept = model.features(model.relu(model.stem(batch)))
    scores = model.head(F.relu(kept - 0.05).mean((2, 3))) * 5000
    return kept.detach(), torch.autograd.grad(scores.gather(1, targets[:, None]).sum(), kept)[0]


def test_smooth_grad_cam_plus_plus_averages_the_gradient_as_the_paper_does_and_torch_cam_does_not() -> None:
    model, batch = network(), pictures(1)
    drawn = smooth._noise(batch[0])
    targets = model(batch).argmax(1)
    copies = [activations_and_gradients(model, batch + noise, targets) for noise in drawn]
    powers = [torch.stack([slope**p for _, slope in copies]).mean(0) for p in (1, 2, 3)]
    activations = activations_and_gradients(model, batch, targets)[0]
    alpha = (powers[1] / (2 * powers[1] + activations.sum((2, 3), keepdim=True) * powers[2])).nan_to_num(0)
    paper = torch.einsum("bk,bkij->bij", (alpha * powers[0].relu()).sum((2, 3)), activations).relu()
    assert np.abs(stretched(paper) - ours(model, batch, "smoothgradcam++")[0]).max() < 1e-4
    with torch_cam.SmoothGradCAMpp(model, "features", num_samples=smooth.SAMPLES) as peer:
        noises = iter(drawn)
        peer._distrib.sample = lambda size: next(noises)[None]
        model(batch)
        (found,) = peer(targets.tolist())
    assert np.abs(stretched(paper) - stretched(found.detach())).max() > 1e-3


def captums(model: nn.Module, batch: Tensor, targets: Tensor, method: str) -> Tensor:
    blurred = causal.blurred(batch)
    if method == "integrated-gradients":
        return IntegratedGradients(model).attribute(batch, blurred, target=targets, n_steps=pixels.STEPS)
    if method == "deeplift":
        return DeepLift(model).attribute(batch, blurred, target=targets)
    return GuidedGradCam(model, model.features).attribute(batch, target=targets, interpolate_mode="bilinear")


@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift", "guided-gradcam"])
def test_a_method_of_captum_equals_captum(method: str) -> None:
    """On a network that calls each ReLU once, as Captum asks."""
    model, batch = network(PooledNet), pictures()
    model.stem, model.relu = nn.Sequential(model.stem, nn.ReLU()), nn.Identity()
    maps, targets = ours(model, batch, method)
    plain = pixels.positive(captums(model, batch, targets, method))
    assert np.abs(maps - stretched(plain)).max() < 1e-4


def test_deeplift_takes_a_network_that_calls_one_relu_twice() -> None:
    model, batch = network(), pictures()
    answer = attribute(Given(model), batch, method="deeplift")
    with torch.no_grad():
        scores = [model(x).gather(1, answer.targets[:, None])[:, 0] for x in (batch, causal.blurred(batch))]
    separated = pixels._separate_activations(model)
    contributions = DeepLift(separated).attribute(batch, causal.blurred(batch), target=answer.targets)
    assert torch.allclose(contributions.sum((1, 2, 3)), scores[0] - scores[1], atol=1e-2)  # summation to delta


def test_occlusion_equals_captum_averaged_over_the_squares_that_cover_a_pixel() -> None:
    model, batch = network(), pictures(1, side=16)
    maps, targets = ours(model, batch, "occlusion")
    colour = batch.mean((2, 3), keepdim=True).expand_as(batch)
    window, step = (3, 2, 2), (3, 1, 1)
    peer = Occlusion(model).attribute(
        batch, sliding_window_shapes=window, strides=step, baselines=colour, target=targets
    )
    assert np.abs(maps - stretched(peer[:, 0].relu())).max() < 1e-3


@pytest.mark.parametrize("method", FOR_CNN)
def test_a_picture_gets_the_same_map_whatever_batch_it_is_in_and_the_model_is_left_alone(method: str) -> None:
    model, batch = network(), pictures()
    model.train()
    frozen = model.stem.weight.requires_grad_(False)
    together = attribute(Given(model), batch, method=method)
    alone = [attribute(Given(model), batch[i : i + 1], method=method).maps[0] for i in range(3)]
    assert torch.allclose(together.maps, torch.stack(alone), atol=1e-4)
    assert torch.isfinite(together.maps).all() and together.reasons == [None] * 3
    assert model.training and not frozen.requires_grad and model.head[0].weight.requires_grad
    assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks or m._backward_hooks]
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("method", ["occlusion", "integrated-gradients", "gradient-shap", "feature-ablation"])
def test_a_model_without_a_spatial_layer_is_explained_by_methods_on_pixels(method: str) -> None:
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 20), nn.ReLU(), nn.Linear(20, 4)).eval()
    answer = attribute(Given(flat, layer=""), pictures(), method=method)
    assert answer.maps.shape == (3, 16, 16) and answer.reasons == [None] * 3


def test_a_contrast_is_the_gradient_of_a_difference() -> None:
    model, batch = network(), pictures()
    logits = model(batch)
    order = logits.argsort(1, descending=True)
    labels = order[:, 2].clone()
    labels[0], labels[1] = order[0, 0], -1  # one right, one without a label, one wrong
    against = torch.stack([order[0, 1], order[1, 1], order[2, 2]])
    activations = model.features(model.relu(model.stem(batch))).detach().requires_grad_()
    scores = model.head(F.relu(activations - 0.05).mean((2, 3))) * 5000
    chosen = scores.gather(1, order[:, :1])[:, 0] - scores.gather(1, against[:, None])[:, 0]
    weights = torch.autograd.grad(chosen.sum(), activations)[0].mean((2, 3))
    paper = torch.einsum("bk,bkij->bij", weights, activations.detach()).relu()
    found = attribute(Given(model), batch, question="contrast", labels=labels)
    assert found.targets.tolist() == order[:, 0].tolist()
    assert torch.allclose(found.maps, paper / paper.amax((1, 2), keepdim=True), atol=1e-4)
    asked = {q: attribute(Given(model), batch, question=q, labels=labels).targets for q in ("label", "runner-up")}
    assert asked["runner-up"].tolist() == order[:, 1].tolist()
    assert asked["label"].tolist() == [order[0, 0], order[1, 0], order[2, 2]]


def transformer() -> tuple[VisionTransformer, Given]:
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 3, 2, 24, 48, num_classes=4).eval()
    nn.init.normal_(model.heads.head.weight)
    return model, Given(model, "encoder.layers.encoder_layer_2.ln_1", layout=Layout("tokens", 1, (4, 4)))


def attention_weights(model: VisionTransformer, batch: Tensor) -> tuple[list[Tensor], Tensor]:
    """Weights (B, heads, N, N) per block, by the formula, and the logits."""
    tokens = model._process_input(batch)
    tokens = torch.cat([model.class_token.expand(len(batch), -1, -1), tokens], 1) + model.encoder.pos_embedding
    kept = []
    for block in model.encoder.layers:
        mha = block.self_attention
        mixed = block.ln_1(tokens) @ mha.in_proj_weight.T + mha.in_proj_bias
        query, key, value = mixed.unflatten(2, (3, 2, 12)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d)
        weights = (query @ key.mT / 12**0.5).softmax(-1)
        kept.append(weights)
        tokens = tokens + mha.out_proj((weights @ value).transpose(1, 2).flatten(2))
        tokens = tokens + block.mlp(block.ln_2(tokens))
    return kept, model.heads(model.encoder.ln(tokens)[:, 0])


def test_rollout_is_the_papers_product_of_attentions() -> None:
    model, given = transformer()
    batch = pictures(side=32)
    with torch.no_grad():
        weights, _ = attention_weights(model, batch)
    product = torch.eye(17).expand(3, 17, 17)
    for block in weights:
        product = (0.5 * block.mean(1) + 0.5 * torch.eye(17)) @ product
    paper = product[:, 0, 1:].reshape(3, 4, 4)
    found = attribute(given, batch, method="rollout").maps
    assert torch.allclose(found, paper / paper.amax((1, 2), keepdim=True), atol=1e-4)


def test_gradient_weighted_attention_is_the_papers() -> None:
    model, given = transformer()
    batch = pictures(side=32)
    weights, logits = attention_weights(model, batch.requires_grad_())
    slopes = torch.autograd.grad(logits.amax(1).sum(), weights)
    relevance = torch.eye(17).expand(3, 17, 17)
    for block, slope in zip(weights, slopes, strict=True):
        relevance = relevance + (block * slope).relu().mean(1) @ relevance
    paper = relevance[:, 0, 1:].reshape(3, 4, 4)
    found = attribute(given, batch, method="attention-gradient").maps
    assert torch.allclose(found, paper / paper.amax((1, 2), keepdim=True), atol=1e-4)
    assert torch.allclose(attribute(given, batch).logits, logits.detach(), atol=1e-5)


@pytest.mark.parametrize("method", sorted(SLOW_FORMULAS))
def test_attention_methods_refuse_a_network_without_attention(method: str) -> None:
    with pytest.raises((RequestError, ModelError), match="transformer"):
        attribute(Given(network()), pictures(), method=method)
