"""Losses on choice distributions and regularisers: pure tensor functions. All are means over the batch, in nats."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def hard(similarities: Tensor, targets: Tensor) -> Tensor:
    """-log q(the target's most likely odd one out). Source: gLocal, global loss.

    Args: similarities: (n, 3) of the model, already divided by its temperature; targets: (n, 3) probabilities.
    """
    return F.cross_entropy(similarities, targets.argmax(-1))


def kl(similarities: Tensor, targets: Tensor) -> Tensor:
    """KL(p || q) of targets p and q = softmax(similarities). Source: the paper, uncertainty distillation.

    Args: as in `hard`.
    """
    return F.kl_div(similarities.log_softmax(-1), targets, reduction="batchmean")


def jsd(similarities: Tensor, targets: Tensor) -> Tensor:
    """Jensen-Shannon divergence of targets and softmax(similarities), in [0, log 2]. Source: the release's default.

    Args: as in `hard`.
    """
    log_q = similarities.log_softmax(-1)
    log_p = targets.clamp(min=1e-12).log()
    log_m = log_p.logaddexp(log_q) - math.log(2)
    return (F.kl_div(log_m, targets, reduction="batchmean") + F.kl_div(log_m, log_q.exp(), reduction="batchmean")) / 2


BY_NAME = {"hard": hard, "uncertainty": kl, "kl": kl, "jsd": jsd}


def local(before: Tensor, after: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between the softmaxes of each picture's cosine similarities to the others, before and after a map.

    Args: before: (n, p) and after: (n, q), representations of the same n pictures; temperature: of the similarities.
    Returns: the mean over the n pictures, in nats; least where the neighbourhoods are as before.
    Source: gLocal, the local (contrastive) term; the mean over rows as in its published code.
    """
    logits = []
    for rows in (before, after):
        unit = F.normalize(rows, dim=1)
        # a picture is no neighbour of its own; not -inf, of which 0 times is not 0
        logits.append((unit @ unit.T / temperature).fill_diagonal_(torch.finfo(unit.dtype).min / 2))
    return F.cross_entropy(logits[1], logits[0].softmax(1))


def distance_to_scaled_identity(weight: Tensor) -> Tensor:
    """|| W - mean(diag W) I ||_F^2 for a square W. Source: gLocal's regulariser, kept by the paper."""
    centre = weight.diagonal().mean()
    return weight.square().sum() - 2 * centre * weight.trace() + centre.square() * len(weight)
