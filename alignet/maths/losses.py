"""Losses on choice distributions, and regularisers, as pure tensor functions. A loss is a mean over the batch, in nats.

Equations are those of docs/method.md. gLocal: Muttenthaler et al., Improving neural network representations using human
similarity judgments, NeurIPS 2023.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def hard(similarities: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood, under the model, of the odd one out that is most likely under the targets.

    Args: similarities: (n, 3) of the model, divided by its temperature; targets: (n, 3) probabilities.
    Returns: the mean over the batch, a scalar.
    Source: gLocal, the global loss (Eq. 9, right).

    Example:

    >>> import torch
    >>> from alignet.maths import losses
    >>> similarities = torch.tensor([[0.0, 0.0, 0.0]])  # a model that knows nothing
    >>> round(float(losses.hard(similarities, torch.tensor([[0.1, 0.2, 0.7]]))), 4)  # log 3
    1.0986
    """
    return F.cross_entropy(similarities, targets.argmax(-1))


def kl(similarities: Tensor, targets: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(p || q) between the targets p and the model's q = softmax(similarities).

    Args: as for `hard`.
    Source: the paper, uncertainty distillation (Eq. 6 and Eq. 9).

    Example:

    >>> import torch
    >>> from alignet.maths import losses
    >>> targets = torch.tensor([[0.1, 0.2, 0.7]])
    >>> bool(losses.kl(targets.log(), targets) < 1e-6)  # the model agrees with the targets
    True
    >>> round(float(losses.kl(torch.zeros(1, 3), targets)), 4)
    0.2968
    """
    return F.kl_div(similarities.log_softmax(-1), targets, reduction="batchmean")


def jsd(similarities: Tensor, targets: Tensor) -> Tensor:
    """Jensen-Shannon divergence between the targets and softmax(similarities), in [0, log 2].

    Args: as for `hard`.
    Source: the default loss of the paper's released code (Eq. 9).
    """
    log_q = similarities.log_softmax(-1)
    log_p = targets.clamp(min=1e-12).log()
    log_m = log_p.logaddexp(log_q) - math.log(2)
    of_targets = F.kl_div(log_m, targets, reduction="batchmean")
    # q by its logs: where q underflows to 0, the gradient of q log q would be NaN.
    return (of_targets + F.kl_div(log_m, log_q, reduction="batchmean", log_target=True)) / 2


BY_NAME = {"hard": hard, "uncertainty": kl, "kl": kl, "jsd": jsd}


def rows(similarities: Tensor, taught: Tensor) -> Tensor:
    """KL divergence between the teacher's and the student's neighbourhoods of each picture in a batch.

    A picture's neighbourhood is the softmax of its similarities to the other pictures.

    Args: similarities: (n, n) of the student, taught: (n, n) of the teacher; each divided by its temperature.
    Returns: the mean over the n pictures, in nats; it is 0 if each row of both matrices differs by a constant.
    Source: ours (Eq. 9b of docs/method.md), after gLocal's local term (`local`), a cross-entropy of such rows.
    """
    # The mask is finite and leaves room below it, because 0 * -inf would be NaN.
    masked = [matrix.clone().fill_diagonal_(torch.finfo(matrix.dtype).min / 2) for matrix in (similarities, taught)]
    log_q, log_p = (matrix.log_softmax(1) for matrix in masked)
    divergence = log_p.exp() * (log_p - log_q)
    return divergence.fill_diagonal_(0).sum(1).mean()


def local(before: Tensor, after: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between each picture's neighbourhoods before and after a map.

    A picture's neighbourhood is the softmax of its cosine similarities to the other pictures.

    Args: before: (n, p) and after: (n, q), representations of the same n pictures; temperature: by which the
        similarities are divided.
    Returns: the mean over the n pictures, in nats; it is least where the neighbourhoods have not changed.
    Source: gLocal, the local (contrastive) term (Eq. 7), a mean over rows as in its published code.
    """
    logits = []
    for rows in (before, after):
        unit = F.normalize(rows, dim=1)
        # A picture is not its own neighbour. The mask is finite, because 0 * -inf would be NaN.
        logits.append((unit @ unit.T / temperature).fill_diagonal_(torch.finfo(unit.dtype).min / 2))
    return F.cross_entropy(logits[1], logits[0].softmax(1))


def distance_to_scaled_identity(weight: Tensor) -> Tensor:
    """The regulariser || W - W' ||_F^2 of a square W, (p, p), with W' = (tr(W) / p) I.

    Source: gLocal; the paper keeps it (the last term of Eq. 6, with an identity start).
    """
    centre = weight.diagonal().mean()
    return weight.square().sum() - 2 * centre * weight.trace() + centre.square() * len(weight)
