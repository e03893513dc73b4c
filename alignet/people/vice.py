"""VICE: single human choices -> a sparse, non-negative embedding with uncertainty -> choice distributions.

Source: Muttenthaler et al., VICE, NeurIPS 2022, sections 3.1 to 3.3 (docs/method.md, section 1).
"""

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.stats import false_discovery_control
from torch import Tensor
from tqdm import tqdm

from alignet import devices
from alignet.config import HumanUncertainty
from alignet.maths.choices import row_pair_similarities

CHUNK = 1 << 16  # triplets scored at a time: 100 dimensions take 80 MB
FITTED = ("seed", "dimensions", "spike", "slab", "spike_weight", "lr", "batch_size", "fdr", "min_objects")


@dataclass(frozen=True)
class Posterior:
    """A Gaussian N(mu, sigma^2) per object and dimension; the embedding is relu of a sample of it.

    mu, sigma: (n_objects, dimensions), sigma > 0, or 0 throughout for an embedding without uncertainty.

    Example:

    >>> import torch
    >>> from alignet.people.vice import Posterior
    >>> mu = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    >>> sure = Posterior(mu, torch.zeros(3, 2))
    >>> probabilities = sure.choice_distribution(torch.tensor([[0, 1, 2]]), samples=10, seed=0)
    >>> [round(float(p), 3) for p in probabilities[0]]  # object 2 is the likeliest odd one out
    [0.107, 0.107, 0.787]
    """

    mu: Tensor
    sigma: Tensor

    def save(self, path: Path) -> None:
        save_file({name: tensor.contiguous() for name, tensor in vars(self).items()}, path)

    @classmethod
    def load(cls, path: Path) -> "Posterior":
        return cls(**load_file(path))

    def pruned(self, settings: HumanUncertainty) -> "Posterior":
        """The posterior with only those dimensions that `kept_dimensions` keeps.

        Raises: ValueError if there are none and the teacher's targets are to come from them.
        """
        kept = kept_dimensions(self, settings.fdr, settings.min_objects)
        if not len(kept) and settings.uncertainty == "vice":
            raise ValueError(
                f"VICE kept no dimension: in none are more than {settings.min_objects} objects above 0. Raise "
                "human_uncertainty.max_epochs, lower human_uncertainty.min_objects, collect more choices, or set "
                "human_uncertainty.uncertainty to empirical"
            )
        return Posterior(self.mu[:, kept], self.sigma[:, kept])

    def rectified_mean(self) -> Tensor:
        """The mean of relu(E) under the posterior, (n_objects, dimensions): y of Eq. 5a of docs/method.md.

        It is mu Phi(mu / sigma) + sigma phi(mu / sigma), with the standard normal distribution Phi and its density phi,
        and relu(mu) where sigma is 0.
        """
        ratio = self.mu / self.sigma.clamp(min=1e-30)
        density = (-ratio.square() / 2).exp() / math.sqrt(2 * math.pi)
        return self.mu * torch.special.ndtr(ratio) + self.sigma * density

    def choice_distribution(self, triplets: Tensor, samples: int, seed: int) -> Tensor:
        """Choice probabilities of triplets: the mean softmax over Monte-Carlo samples of the embedding (Eq. 4).

        Args: triplets: (n, 3) object numbers; samples: how many samples; seed: of the generator that draws them.
        Returns: (n, 3) probabilities in odd-one-out order.
        Source: VICE, section 3.3.
        """
        generator = torch.Generator().manual_seed(seed)
        samples = samples if self.sigma.any() else 1  # without uncertainty all samples are equal
        total = torch.zeros(len(triplets), 3)
        for _ in range(samples):
            noise = torch.randn(self.mu.shape, generator=generator)
            embedding = (self.mu + self.sigma * noise).relu()
            for chosen, shown in zip(total.split(CHUNK), triplets.split(CHUNK), strict=True):
                chosen += row_pair_similarities(embedding, shown).softmax(-1)
        return total / samples


@dataclass
class State:
    """The state from which a fit can resume: parameters, Adam's moments, the generator and the curve so far.

    work: a fingerprint of the choices and settings that are being fitted.
    """

    mu: Tensor
    log_sigma: Tensor
    optimiser: torch.optim.Adam
    generator: torch.Generator
    work: str
    curve: list[dict] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the state as one safetensors file. An interruption leaves the former file whole."""
        tensors = {"mu": self.mu.detach(), "log_sigma": self.log_sigma.detach()}
        for name, parameter in (("mu", self.mu), ("log_sigma", self.log_sigma)):
            tensors |= {f"{name}.{key}": value for key, value in self.optimiser.state[parameter].items()}
        tensors["generator"] = self.generator.get_state()
        tensors["curve"] = torch.tensor([list(row.values()) for row in self.curve], dtype=torch.float64)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path.with_suffix(".part"), metadata={"work": self.work})
        path.with_suffix(".part").replace(path)

    def restore(self, path: Path) -> None:
        """Resume from a checkpoint. If it belongs to other choices or settings, print that it is not used."""
        with safe_open(path, "pt") as file:
            if file.metadata()["work"] != self.work:
                print(f"{path}: a checkpoint of other choices or settings, starting anew")
                return
        tensors = load_file(path)
        with torch.no_grad():
            for name, parameter in (("mu", self.mu), ("log_sigma", self.log_sigma)):
                parameter.copy_(tensors[name])
                moments = ("step", "exp_avg", "exp_avg_sq")
                self.optimiser.state[parameter] = {key: tensors[f"{name}.{key}"] for key in moments}
        self.generator.set_state(tensors["generator"])
        self.curve = [_curve_row(*row) for row in tensors["curve"].tolist()]


def fit(
    triplets: Tensor, odd: Tensor, n_objects: int, settings: HumanUncertainty, checkpoint: Path | None = None
) -> tuple[Posterior, pd.DataFrame]:
    """Fit VICE: minimise Eq. 2 of docs/method.md by Adam.

    The fit stops after `max_epochs` epochs, or earlier when it has `converged`. If `checkpoint` names a file, the fit
    is saved there after each epoch and resumes from it.

    Args: triplets: (n, 3) object numbers, a row per choice; odd: (n,) position of the chosen odd one out; n_objects:
        number of objects.
    Returns: the posterior of all dimensions, before any is pruned, and the curve (epoch, nll, complexity, dimensions).
    Raises: ValueError if an object number is outside [0, n_objects).
    """
    if triplets.min() < 0 or triplets.max() >= n_objects:
        raise ValueError(f"VICE: triplets name object {int(triplets.max())}, there are {n_objects} objects")
    state = _start(n_objects, settings, _work(triplets, odd, settings))
    if checkpoint is not None and checkpoint.is_file():
        state.restore(checkpoint)
    bar = tqdm(total=settings.max_epochs, initial=len(state.curve), desc="VICE", unit="epoch", mininterval=2)
    while len(state.curve) < settings.max_epochs and not converged(state.curve, settings):
        with devices.threads(1):
            nll, complexity = _epoch(state, triplets, odd, settings)
        kept = kept_dimensions(_posterior(state), settings.fdr, settings.min_objects)
        state.curve.append(_curve_row(len(state.curve) + 1, nll, complexity, len(kept)))
        bar.update()
        if checkpoint is not None:
            state.save(checkpoint)
    bar.close()
    return _posterior(state), pd.DataFrame(state.curve)


def converged(curve: list[dict], settings: HumanUncertainty) -> bool:
    """Whether the number of kept dimensions has not changed over the last `stable_epochs` epochs, after `burn_in`
    epochs.

    The number must be above 0: every fit starts with no kept dimension, and staying there is not convergence.
    """
    last = [row["dimensions"] for row in curve[-settings.stable_epochs - 1 :]]
    return len(curve) >= settings.burn_in + settings.stable_epochs and len(set(last)) == 1 and last[0] > 0


def kept_dimensions(posterior: Posterior, fdr: float, min_objects: int) -> Tensor:
    """Dimensions in which more than `min_objects` objects are above 0, largest total weight first.

    An object is above 0 in a dimension if a one-sided test says so, after Benjamini and Hochberg's correction over the
    objects of the dimension at the false discovery rate `fdr`.

    Returns: (kept,) dimension numbers.

    Example:

    >>> import torch
    >>> from alignet.people.vice import Posterior, kept_dimensions
    >>> posterior = Posterior(torch.tensor([[0.0, 1.0, 3.0], [0.0, 1.0, 3.0]]), torch.full((2, 3), 0.1))
    >>> kept_dimensions(posterior, fdr=0.05, min_objects=1).tolist()  # dimension 0 holds nothing
    [2, 1]
    """
    p = torch.special.ndtr(-posterior.mu.double() / posterior.sigma)
    above = false_discovery_control(p.numpy(), axis=0) <= fdr  # adjusted p-values, (objects, dimensions)
    kept = torch.from_numpy(above.sum(0) > min_objects)
    order = posterior.mu.relu().sum(0).argsort(descending=True, stable=True)
    return order[kept[order]]


def top_objects(posterior: Posterior, count: int) -> Tensor:
    """Numbers of the objects with the largest weights in each dimension, (dimensions, count), largest first."""
    return posterior.mu.topk(count, dim=0).indices.T


def log_prior(x: Tensor, settings: HumanUncertainty) -> Tensor:
    """The log density of the spike-and-slab prior (Eq. 3) at each entry of x, up to the constant -log sqrt(2 pi)."""
    slab = math.log((1 - settings.spike_weight) / settings.slab)
    ratio = settings.spike_weight / (1 - settings.spike_weight) * settings.slab / settings.spike
    gap = (settings.spike**-2 - settings.slab**-2) / 2
    square = x.square()
    return slab - square / (2 * settings.slab**2) + (ratio * (-gap * square).exp()).log1p()


def _work(triplets: Tensor, odd: Tensor, settings: HumanUncertainty) -> str:
    """A fingerprint of the choices and of all settings that shape the fit, without those that only say when to stop."""
    kept = {name: getattr(settings, name) for name in FITTED}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for tensor in (triplets, odd):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _start(n_objects: int, settings: HumanUncertainty, work: str) -> State:
    """The state before the first epoch, as in VICE: Kaiming's normal initialisation of mu, log sigma = -1 / std(mu)."""
    generator = torch.Generator().manual_seed(settings.seed)
    mu = torch.randn(n_objects, settings.dimensions, generator=generator) * math.sqrt(2 / settings.dimensions)
    log_sigma = torch.full_like(mu, -1 / float(mu.std())).requires_grad_()
    mu.requires_grad_()
    optimiser = torch.optim.Adam([mu, log_sigma], lr=settings.lr, fused=True)
    return State(mu, log_sigma, optimiser, generator, work)


def _epoch(state: State, triplets: Tensor, odd: Tensor, settings: HumanUncertainty) -> tuple[float, float]:
    """Train for one epoch; return the mean negative log-likelihood and complexity.

    The complexity is divided by the number of all choices and not by that of a batch, so the loss does not depend on
    the batch size.
    """
    order = torch.randperm(len(triplets), generator=state.generator)
    triplets, odd = triplets[order], odd[order]
    sums = torch.zeros(2, dtype=torch.float64)
    for start in range(0, len(triplets), settings.batch_size):
        batch = slice(start, start + settings.batch_size)
        noise = torch.randn(state.mu.shape, generator=state.generator)
        x = state.mu + state.log_sigma.exp() * noise
        nll = F.cross_entropy(row_pair_similarities(x.relu(), triplets[batch]), odd[batch])
        # log q(X) = -log sigma - noise^2 / 2 and constants: the noise does not depend on what is fitted
        complexity = -(state.log_sigma.sum() + log_prior(x, settings).sum()) / len(triplets)
        state.optimiser.zero_grad()
        (nll + complexity).backward()
        state.optimiser.step()
        sums += torch.tensor([nll.item(), complexity.item()]) * len(odd[batch])
    return tuple((sums / len(triplets)).tolist())


def _posterior(state: State) -> Posterior:
    return Posterior(state.mu.detach().clone(), state.log_sigma.detach().exp())


def _curve_row(epoch: float, nll: float, complexity: float, dimensions: float) -> dict:
    return {"epoch": int(epoch), "nll": nll, "complexity": complexity, "dimensions": int(dimensions)}
