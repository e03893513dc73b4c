"""Ridge regression of a frozen backbone's features onto the embedding of people's choices, in closed form. *(ours)*

The teacher's fit starts from it (`teacher.start: ridge`), and it is a teacher by itself (docs/method.md, section 2).
"""

import dataclasses

import torch
from torch import Tensor

from alignet.maths import losses
from alignet.maths.choices import row_pair_similarities
from alignet.people.choice_distributions import ChoiceCounts
from alignet.teacher.affine_map import AffineMap, best_scale

SMALLEST = 1e-10  # share of the largest squared singular value; what is smaller is rounding


@dataclasses.dataclass(frozen=True)
class Regression:
    """The singular value decomposition of centred inputs, U diag(s) V', which serves all penalties.

    inputs: (n, p) and targets: (n, k), both centred; left: U, (n, r); squares: s^2, (r,); groups: (n,) number of each
    row's concept. All are in double precision.
    """

    inputs: Tensor
    targets: Tensor
    left: Tensor
    squares: Tensor
    groups: Tensor

    @classmethod
    def of(cls, inputs: Tensor, targets: Tensor, groups: Tensor) -> "Regression":
        """The decomposition of inputs (n, p) for targets (n, k).

        Args: groups: (n,) any numbers, equal for the rows of one concept.
        """
        x, y = (table.double() - table.double().mean(0) for table in (inputs, targets))
        wide = x.shape[1] > len(x)
        squares, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
        kept = squares > SMALLEST * squares[-1]
        squares, vectors = squares[kept], vectors[:, kept]
        left = vectors if wide else x @ vectors / squares.sqrt()
        return cls(x, y, left, squares, groups.unique(return_inverse=True)[1])

    def weight(self, penalty: float) -> Tensor:
        """The matrix W, (k, p), that minimises || Z W^T - Y ||^2 + l || W ||^2 for the inputs Z and the targets Y.

        It is Y^T Z (Z^T Z + l I)^-1, which is W_0 in Eq. 5a of docs/method.md without the factor xi. l is `penalty`
        times the mean squared norm of a row of Z.

        Example:

        >>> import torch
        >>> from alignet.teacher.ridge import Regression
        >>> x = torch.tensor([[1.0], [-1.0], [2.0], [-2.0]])
        >>> regression = Regression.of(x, 3 * x, groups=torch.tensor([0, 1, 2, 3]))
        >>> [round(regression.weight(penalty).item(), 3) for penalty in (0.0, 1.0)]
        [3.0, 2.4]
        """
        share = self.left.T @ self.targets / (self.squares + self._penalty(penalty))[:, None]
        return (self.inputs.T @ (self.left @ share)).T

    def left_out(self, penalty: float) -> Tensor:
        """Leave-one-concept-out predictions of the centred targets, (n, k).

        For the hat matrix Psi and the rows of concept o they are y_o - (I - Psi_oo)^-1 (y_o - (Psi Y)_o), which equals
        the prediction of a fit without these rows exactly.

        Example:

        >>> import torch
        >>> from alignet.teacher.ridge import Regression
        >>> x = torch.tensor([[1.0], [-1.0], [2.0], [-2.0]])
        >>> regression = Regression.of(x, 3 * x, groups=torch.tensor([0, 0, 1, 1]))  # two pictures of each concept
        >>> [round(value, 3) for value in regression.left_out(0.0).flatten().tolist()]
        [3.0, -3.0, 6.0, -6.0]
        """
        shrunk = self.left * (self.squares / (self.squares + self._penalty(penalty)))
        residuals, predicted = self.targets - shrunk @ (self.left.T @ self.targets), self.targets.clone()
        sizes = torch.bincount(self.groups)
        alone = sizes[self.groups] == 1
        leverage = (shrunk * self.left).sum(1) + 1 / len(self.targets)
        predicted[alone] -= residuals[alone] / (1 - leverage[alone])[:, None]
        for group in (sizes > 1).nonzero().flatten():
            rows = self.groups == group
            hat = shrunk[rows] @ self.left[rows].T + 1 / len(self.targets)
            predicted[rows] -= torch.linalg.solve(torch.eye(len(hat), dtype=hat.dtype) - hat, residuals[rows])
        return predicted

    def _penalty(self, penalty: float) -> Tensor:
        return penalty * self.squares.sum() / len(self.targets)


def fit(
    start: AffineMap,
    features: Tensor,
    pictures: Tensor,
    embedding: Tensor,
    concepts: Tensor,
    judgements: ChoiceCounts,
    penalties: list[float],
) -> tuple[AffineMap, float]:
    """Ridge regression from the standardised features onto the embedding, times the factor that predicts choices best.

    Penalty and factor are those with the least KL divergence from the judgements' targets, where each picture's
    representation is predicted by a fit without its concept. The map is Eq. 5a of docs/method.md; the factor multiplies
    similarities, so it is xi^2 there.

    Args: start: the map whose statistics and axes are used; features: (n_images, p); pictures: (m,) rows to fit to;
        embedding: (m, k) embedding of each picture's object; concepts: (m,) number of each picture's concept;
        judgements: triplets of these pictures.
    Returns: the map, and the chosen penalty, one of `penalties`.
    """
    inputs = start.standardised(features[pictures])
    mean, regression = embedding.double().mean(0), Regression.of(inputs, embedding, concepts)
    place = torch.full((len(features),), -1)
    place[pictures] = torch.arange(len(pictures))
    tried = []
    for penalty in penalties:
        predicted = (regression.left_out(penalty) + mean).float()
        similarities = row_pair_similarities(predicted, place[judgements.triplets])
        scale = best_scale(similarities, judgements.targets)
        tried.append((float(losses.kl(scale * similarities, judgements.targets)), penalty, scale))
    _, penalty, scale = min(tried)
    weight = regression.weight(penalty)
    bias = mean - weight @ inputs.double().mean(0)
    return dataclasses.replace(start, weight=(scale**0.5 * weight).float(), bias=(scale**0.5 * bias).float()), penalty
