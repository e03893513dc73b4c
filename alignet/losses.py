"""Losses on choice distributions and regularisers: pure tensor functions. All are means over the batch, in nats."""

import math

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


def distance_to_scaled_identity(weight: Tensor) -> Tensor:
    """|| W - mean(diag W) I ||_F^2 for a square W. Source: gLocal's regulariser, kept by the paper."""
    centre = weight.diagonal().mean()
    return weight.square().sum() - 2 * centre * weight.trace() + centre.square() * len(weight)
