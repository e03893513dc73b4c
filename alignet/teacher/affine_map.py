"""The teacher: an affine map on frozen features, fitted to human choice distributions (uncertainty distillation)."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize_scalar
from torch import Tensor

from alignet import config
from alignet.config import Teacher
from alignet.maths import losses, metrics
from alignet.maths.choices import gather_pair_similarities, odd_one_out, row_pair_similarities
from alignet.maths.intervals import Units, mean_influence
from alignet.models.backbones import autocast
from alignet.people.choice_distributions import ChoiceCounts
from alignet.people.embeddings import PictureEmbedding

CHUNK = 1 << 15  # triplets gathered at a time: 1,152 dimensions take 450 MB
SAMPLES = 4  # of the embedding a step
FINAL_LR = 0.05  # the learning rate falls linearly to this share of its start


@dataclass(frozen=True)
class AffineMap:
    """An affine map x = W z + b of standardised features z = A (features - mean) / scale (Eq. 5 of docs/method.md).

    The rows of A are the principal axes, `components`; without them A is the identity.

    weight: (q, k); bias: (q,); mean: (p,); scale: scalar, or (p,) where several layers are joined (`joined_scale`);
    components: (k, p) with orthonormal rows, or None, in which case k = p. q equals k where the fit starts at a scaled
    identity, and the number of dimensions of people's embedding where it starts at ridge regression. mean, scale and
    components come from the training objects only.

    Example:

    >>> import torch
    >>> from alignet.teacher.affine_map import AffineMap
    >>> weight, bias = torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([0.0, 5.0])
    >>> affine = AffineMap(weight, bias, mean=torch.ones(2), scale=torch.tensor(2.0))
    >>> features = torch.tensor([[3.0, 5.0]])
    >>> affine.standardised(features).tolist()
    [[1.0, 2.0]]
    >>> affine(features).tolist()
    [[2.0, 8.0]]
    >>> affine.without_map(scale=10.0)(features).tolist()
    [[10.0, 20.0]]
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor
    components: Tensor | None = None

    def __call__(self, features: Tensor) -> Tensor:
        """Representations (n, q) of features (n, p); their dot products are the teacher's similarities."""
        return self.standardised(features) @ self.weight.T + self.bias

    def standardised(self, features: Tensor) -> Tensor:
        """Standardised features z, (n, k), of features (n, p)."""
        z = (features - self.mean) / self.scale
        return z if self.components is None else z @ self.components.T

    def without_map(self, scale: float = 1.0) -> "AffineMap":
        """The untransformed map: these statistics and axes with W = scale I and b = 0."""
        inputs = self.weight.shape[1]
        return dataclasses.replace(self, weight=scale * torch.eye(inputs), bias=torch.zeros(inputs))

    def save(self, folder: Path, settings: Teacher) -> None:
        """Write the map, its statistics and axes to teacher.safetensors, with the settings of the fit as metadata."""
        config.own(folder).mkdir(parents=True, exist_ok=True)
        path = folder / "teacher.safetensors"
        tensors = {name: tensor.contiguous() for name, tensor in vars(self).items() if tensor is not None}
        save_file(tensors, path, metadata={"settings": json.dumps(dataclasses.asdict(settings))})

    @classmethod
    def load(cls, folder: Path) -> "AffineMap":
        return cls(**load_file(folder / "teacher.safetensors"))


@dataclass(frozen=True)
class Drawn:
    """Pictures and an embedding of people's choices, from which batches of concepts are drawn.

    embedding: gives the targets of all triplets of a batch; pictures: (m,) rows to draw from; concepts: (m,) number of
    each picture's concept.
    """

    embedding: PictureEmbedding
    pictures: Tensor
    concepts: Tensor

    def batch(self, size: int, generator: torch.Generator) -> Tensor:
        """Positions in `pictures` of one picture each of `size` different concepts, (size,), or of all concepts if
        there are fewer.
        """
        order = torch.randperm(len(self.pictures), generator=generator)
        concepts = self.concepts[order].unique(return_inverse=True)[1]
        first = torch.full((int(concepts.max()) + 1,), len(order))
        first.scatter_reduce_(0, concepts, torch.arange(len(order)), "amin")
        return order[first.sort().values[:size]]


def fit(
    features: Tensor,
    judgements: ChoiceCounts,
    settings: Teacher,
    others: Tensor | None = None,
    start: AffineMap | None = None,
    drawn: Drawn | None = None,
) -> AffineMap:
    """Fit the teacher's map by Adam on batches of triplets.

    The loss is Eq. 6 of docs/method.md: (1 - alpha) L + alpha `losses.local` + lambda || W - W' ||_F^2. W' is (tr(W) /
    k) I for W of shape (k, k) or, with settings.start 'ridge', the W of `start`. L is the KL divergence from the
    judgements' targets (loss 'uncertainty') or -log q of people's single choices ('hard'). With `drawn` and
    settings.batch_concepts, L is the KL divergence from the embedding's choice distributions, over all triplets among
    that many concepts a step.

    Args: features: (n, p) of all pictures; only those in `judgements` and `drawn` are used. others: (m, p) of other
        pictures, whose neighbourhoods the local term keeps. start: the map that the fit starts from; None: W = sigma I
        and b = 0.
    Returns: the fitted map, with the statistics and axes of its start.
    Raises: ValueError if the local term has a weight and there are no other pictures.
    Source: the paper, Methods, 'uncertainty distillation'; gLocal (Muttenthaler et al., NeurIPS 2023).
    """
    if settings.local_weight and others is None:
        raise ValueError("teacher.local_weight is above 0, and there are no other pictures for the local term")
    start = start or untransformed(features, judgements, settings.sigma, settings.pca)
    weight, bias = start.weight.clone().requires_grad_(), start.bias.clone().requires_grad_()
    optimiser = torch.optim.Adam([weight, bias], lr=settings.lr, fused=True)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, FINAL_LR, max(settings.steps, 1))
    objective = _objective(start, features, judgements, settings, others, drawn)
    for _ in range(settings.steps):
        optimiser.zero_grad()
        with autocast(settings.precision):
            loss = objective(weight, bias)
        loss.backward()
        optimiser.step()
        decay.step()
    return dataclasses.replace(start, weight=weight.detach(), bias=bias.detach())


def _objective(
    start: AffineMap,
    features: Tensor,
    judgements: ChoiceCounts,
    settings: Teacher,
    others: Tensor | None,
    drawn: Drawn | None,
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of the next batch as a function of W and b."""
    generator = torch.Generator().manual_seed(settings.seed)
    if settings.batch_concepts is not None and drawn is not None and settings.loss == "uncertainty":
        divergence = _all_triplets(start, features, drawn, settings.batch_concepts, generator)
    else:
        divergence = _some_triplets(start, features, judgements, settings, generator)
    kept = None if others is None else start.standardised(others)

    def loss(weight: Tensor, bias: Tensor) -> Tensor:
        total = (1 - settings.local_weight) * divergence(weight, bias)
        if settings.local_weight and kept is not None:
            before = kept[torch.randint(len(kept), (settings.local_batch,), generator=generator)]
            after = (before @ weight.T + bias).float()
            total = total + settings.local_weight * losses.local(before, after, settings.local_temperature)
        if settings.start == "ridge":
            return total + settings.regularisation * (weight - start.weight).square().sum()
        return total + settings.regularisation * losses.distance_to_scaled_identity(weight)

    return loss


def _some_triplets(
    start: AffineMap, features: Tensor, judgements: ChoiceCounts, settings: Teacher, generator: torch.Generator
) -> Callable[[Tensor, Tensor], Tensor]:
    """KL divergence on `batch_size` judgements that are drawn at random at each call, as a function of W and b."""
    rows, triplets = judgements.triplets.unique(return_inverse=True)
    z, targets = start.standardised(features[rows]), fitted_targets(judgements, settings.loss)

    def divergence(weight: Tensor, bias: Tensor) -> Tensor:
        batch = torch.randint(len(triplets), (settings.batch_size,), generator=generator)
        similarities = row_pair_similarities((z @ weight.T + bias).float(), triplets[batch])
        return losses.kl(similarities, targets[batch])

    return divergence


def _all_triplets(
    start: AffineMap, features: Tensor, drawn: Drawn, size: int, generator: torch.Generator
) -> Callable[[Tensor, Tensor], Tensor]:
    """KL divergence on all triplets among pictures of `size` concepts, drawn at each call, as a function of W and b.

    All triplets are read from one matrix of dot products. The targets are the mean over SAMPLES samples of the
    embedding. Except for the targets' own entropy, KL is linear in the targets, so the expected gradient is that of the
    mean over all samples.
    """
    z = start.standardised(features[drawn.pictures])

    def divergence(weight: Tensor, bias: Tensor) -> Tensor:
        batch = drawn.batch(size, generator)
        triplets = torch.combinations(torch.arange(len(batch)), 3)
        samples = drawn.embedding.sample(drawn.pictures[batch], SAMPLES, generator)
        each = [gather_pair_similarities(one @ one.T, triplets).softmax(-1) for one in samples]
        mapped = (z[batch] @ weight.T + bias).float()
        return losses.kl(gather_pair_similarities(mapped @ mapped.T, triplets), torch.stack(each).mean(0))

    return divergence


def untransformed(
    features: Tensor, judgements: ChoiceCounts, sigma: float, pca: int | None, widths: list[int] | None = None
) -> AffineMap:
    """The map before any fit, W_0 = sigma I and b_0 = 0, with the statistics and principal axes of the judged pictures.

    There are fewer axes than `pca` if there are fewer judged pictures or dimensions.

    Args: features: (n, p) of all pictures; judgements: their triplets name the judged ones; sigma: the diagonal of W;
        pca: number of principal axes, None: no projection; widths: dimensions of each of the layers that are joined,
        None: there is one layer.
    Returns: the map; its W is (k, k), where k is the number of axes, or p without projection.

    Example:

    >>> import torch
    >>> from alignet.people.choice_distributions import ChoiceCounts
    >>> from alignet.teacher import affine_map
    >>> features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 3.0], [9.0, 9.0]])
    >>> judgements = ChoiceCounts.of(torch.tensor([[0, 1, 2]]), torch.tensor([2]))
    >>> start = affine_map.untransformed(features, judgements, sigma=0.5, pca=None)
    >>> start.weight.tolist(), start.mean.tolist()  # nobody judged the last picture
    ([[0.5, 0.0], [0.0, 0.5]], [2.0, 1.0])
    """
    used = features[judgements.triplets.unique()]
    mean = used.mean(0)
    scale = joined_scale(used - mean, widths or [len(mean)])
    components = None if pca is None else _principal_axes((used - mean) / scale, pca)
    dim = features.shape[1] if components is None else len(components)
    return AffineMap(sigma * torch.eye(dim), torch.zeros(dim), mean, scale, components)


def joined_scale(centred: Tensor, widths: list[int]) -> Tensor:
    """The divisor of Eq. 5 for features of several joined layers, under which each layer has the same share of the
    variance.

    It is each layer's root mean square times sqrt(width * layers / dimensions). *(ours)*

    Args: centred: (n, p), the layers side by side; widths: the dimensions of each layer, p in all.
    Returns: a scalar for one layer, else (p,).
    """
    if len(widths) == 1:
        return centred.square().mean().sqrt()
    parts = [part.square().mean().sqrt() * part.shape[1] ** 0.5 for part in centred.split(widths, dim=1)]
    scale = torch.cat([part.expand(width) for part, width in zip(parts, widths, strict=True)])
    return scale * (len(widths) / centred.shape[1]) ** 0.5


def rescaled(features: Tensor, judgements: ChoiceCounts, start: AffineMap | None = None) -> AffineMap:
    """The untransformed map whose scale predicts the targets best: the fair 'before' of the teacher.

    Args: features: (n, p) of all pictures; judgements: triplets and their targets; start: a map whose statistics and
        axes are used, None: they are computed.
    Returns: the map, with W = sqrt(s) I for the factor s of `best_scale`.
    """
    plain = start or untransformed(features, judgements, 1.0, None)
    plain = plain.without_map()
    scale = best_scale(mapped_similarities(plain, features, judgements.triplets), judgements.targets)
    return dataclasses.replace(plain, weight=scale**0.5 * plain.weight)


def best_scale(similarities: Tensor, targets: Tensor) -> float:
    """The factor of similarities (n, 3), in [1e-8, 100], at which the KL divergence from targets (n, 3) is least.

    Example:

    >>> import torch
    >>> from alignet.teacher import affine_map
    >>> similarities = torch.tensor([[1.0, 2.0, 3.0], [2.0, 1.0, 0.0]])
    >>> round(affine_map.best_scale(similarities, (2 * similarities).softmax(1)), 2)
    2.0
    """

    def loss(log_root: float) -> float:
        return float(losses.kl(10 ** (2 * log_root) * similarities, targets))

    return 10 ** (2 * float(minimize_scalar(loss, bounds=(-4, 1), method="bounded", options={"xatol": 1e-3}).x))


def scores(affine: AffineMap, features: Tensor, judgements: ChoiceCounts, settings: Teacher) -> dict[str, float]:
    """Scores of a map on judgements.

    Returns: n_triplets; loss: the fitted loss without its regularisers; kl: the KL divergence from the targets; nll:
        mean -log q of a single choice (both in nats); odd_one_out_accuracy: agreement with single choices;
        majority_accuracy: agreement with most people's choice; target_accuracy: agreement with the likeliest choice of
        the targets; ece: calibration error; noise_ceiling of the n_repeated triplets that two or more people judged;
        participation_ratio of the pictures' representation.
    """
    mapped, inverse = _mapped(affine, features, judgements.triplets)
    similarities = _similarities(mapped, inverse)
    chosen, counts = odd_one_out(similarities), judgements.counts
    return {
        "n_triplets": len(judgements.triplets),
        "loss": float(losses.kl(similarities, fitted_targets(judgements, settings.loss))),
        "kl": float(losses.kl(similarities, judgements.targets)),
        "nll": metrics.weighted_mean(-(counts * similarities.log_softmax(-1)).sum(1) / counts.sum(1), counts.sum(1)),
        "odd_one_out_accuracy": metrics.odd_one_out_accuracy(chosen, counts),
        "majority_accuracy": float(metrics.majority_agreement(chosen, counts).mean()),
        "target_accuracy": float((chosen == judgements.targets.argmax(1)).double().mean()),
        "ece": metrics.expected_calibration_error(similarities.softmax(-1), counts),
        "noise_ceiling": metrics.odd_one_out_noise_ceiling(judgements.agreement),
        "n_repeated": int((judgements.people >= 2).sum()),
        "participation_ratio": metrics.participation_ratio(mapped),
    }


def accuracy_interval(
    affine: AffineMap, features: Tensor, judgements: ChoiceCounts, objects: Tensor
) -> tuple[float, float]:
    """The 95 % interval of a map's odd-one-out accuracy, over triplets that share objects.

    Args: objects: (n, 3) numbers of the objects in each triplet of `judgements`.
    """
    agrees = metrics.agreement(
        odd_one_out(mapped_similarities(affine, features, judgements.triplets)), judgements.counts
    )
    return Units(objects).interval(*mean_influence(agrees, judgements.counts.sum(1)))


def fitted_targets(judgements: ChoiceCounts, loss: str) -> Tensor:
    """Targets (n, 3) of the fit: those of the judgements or, for the loss 'hard', the shares of people's choices.

    KL divergence from those shares is -log q of the single choices, up to a constant.
    """
    if loss == "uncertainty":
        return judgements.targets
    return judgements.counts / judgements.counts.sum(1, keepdim=True)


def _principal_axes(z: Tensor, count: int) -> Tensor:
    """The first `count` principal axes, (count, p), of centred rows (n, p).

    The largest entry of each axis is positive. n centred rows span at most n - 1 axes, so there may be fewer than
    `count`. The axes are the eigenvectors of the smaller of the two matrices of products, in double precision, which is
    faster than an SVD.
    """
    count, wide = min(count, len(z) - 1, z.shape[1]), z.shape[1] > len(z)
    rows = z.double()
    vectors = torch.linalg.eigh(rows @ rows.T if wide else rows.T @ rows).eigenvectors.flip(1)[:, :count]
    axes = F.normalize(vectors.T @ rows if wide else vectors.T, dim=1).float()
    return axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()


def mapped_similarities(affine: AffineMap, features: Tensor, triplets: Tensor) -> Tensor:
    return _similarities(*_mapped(affine, features, triplets))


def _mapped(affine: AffineMap, features: Tensor, triplets: Tensor) -> tuple[Tensor, Tensor]:
    """The mapped features of the pictures that occur, (m, q), and the triplets as row numbers of them, (n, 3)."""
    rows, inverse = triplets.unique(return_inverse=True)
    return affine(features[rows]), inverse


def _similarities(mapped: Tensor, triplets: Tensor) -> Tensor:
    return torch.cat([row_pair_similarities(mapped, part) for part in triplets.split(CHUNK)])
