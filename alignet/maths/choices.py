"""Similarities of pairs and odd-one-out choices: pure tensor functions.

The whole package uses odd-one-out order (docs/method.md, Eq. 1): entry t of a similarity or probability vector belongs
to the pair that is left when item t is taken out, so the argmax over the three pair similarities is the odd one out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FIRST, SECOND = (1, 0, 0), (2, 2, 1)  # the pair that is left when item 0, 1, 2 is taken out


def pair_similarities(embeddings: Tensor) -> Tensor:
    """Similarity of the pair that is left when each item is taken out.

    Args: embeddings: (batch, 3, dim); the caller normalises.
    Returns: (batch, 3) dot products; entry t belongs to the two items other than t.
    Raises: ValueError if the second axis is not 3.

    Example:

    >>> import torch
    >>> from alignet.maths.choices import odd_one_out, pair_similarities
    >>> dog, cat, car = [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]
    >>> similarities = pair_similarities(torch.tensor([[dog, cat, car]]))
    >>> [round(float(s), 2) for s in similarities[0]]  # of cat and car, of dog and car, of dog and cat
    [0.6, 0.0, 0.8]
    >>> odd_one_out(similarities).tolist()  # the car
    [2]
    """
    if embeddings.ndim != 3 or embeddings.shape[1] != 3:
        raise ValueError(f"embeddings must be (batch, 3, dim), got {tuple(embeddings.shape)}")
    return (embeddings[:, FIRST] * embeddings[:, SECOND]).sum(-1)


def row_pair_similarities(embeddings: Tensor, triplets: Tensor) -> Tensor:
    """Pair similarities of triplets that name rows of an embedding.

    It takes a third of the time of `pair_similarities(embeddings[triplets])`.
    Args: embeddings: (n, dim); triplets: (m, 3) row numbers.
    Returns: (m, 3) dot products; entry t belongs to the two items other than t.
    """
    # F.embedding rather than indexing: indexing adds up gradients in any order, and equal seeds must give equal fits.
    first, second, third = (F.embedding(column, embeddings) for column in triplets.unbind(1))
    return torch.stack([(second * third).sum(-1), (first * third).sum(-1), (first * second).sum(-1)], dim=1)


def gather_pair_similarities(similarities: Tensor, triplets: Tensor) -> Tensor:
    """Pair similarities of triplets, looked up in a matrix of all similarities.

    Args: similarities: (n, n); triplets: (m, 3) row numbers.
    Returns: (m, 3); entry t belongs to the two items other than t.
    """
    pairs = triplets[:, FIRST] * len(similarities) + triplets[:, SECOND]
    # index_select rather than indexing: indexing adds up gradients in any order; equal seeds must give equal students.
    return similarities.flatten().index_select(0, pairs.flatten()).view(pairs.shape)


def odd_one_out(similarities: Tensor) -> Tensor:
    """The odd one out of each triplet, (m,) in {0, 1, 2}, or -1 where the maximum is tied; -1 agrees with nobody.

    Args: similarities: (m, 3) in odd-one-out order.
    """
    top = similarities.max(dim=-1, keepdim=True).values
    tied = (similarities == top).sum(-1) > 1
    return similarities.argmax(-1).masked_fill(tied, -1)


def choice_counts(triplets: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
    """Count how often each item of each distinct triplet was chosen, whatever the order in which the triplet was shown.

    Args: triplets: (m, 3) item numbers, one row per choice; odd: (m,) position of the chosen odd one out.
    Returns: the distinct triplets, (n, 3), each in ascending order, and their counts, (n, 3) int64 in that order.

    Example:

    >>> import torch
    >>> from alignet.maths.choices import choice_counts
    >>> triplets = torch.tensor([[0, 1, 2], [2, 0, 1], [0, 1, 3]])
    >>> distinct, counts = choice_counts(triplets, torch.tensor([2, 0, 1]))
    >>> distinct.tolist(), counts.tolist()  # two people left out item 2 of 0, 1, 2
    ([[0, 1, 2], [0, 1, 3]], [[0, 0, 2], [0, 1, 0]])
    """
    ordered, order = triplets.sort(dim=1)
    chosen = (order == odd[:, None]).long()
    distinct, group = ordered.unique(dim=0, return_inverse=True)
    return distinct, torch.zeros_like(distinct).index_add_(0, group, chosen)


def choices_by_person(triplets: Tensor, odd: Tensor, person: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count each person's choices in each distinct triplet, whatever the order in which the triplet was shown.

    Args: triplets: (m, 3) item numbers, one row per choice; odd: (m,) position of the chosen odd one out; person: (m,)
        number, from 0, of the person who chose.
    Returns: the distinct triplets, (n, 3), each in ascending order; the choices per item, (k, 3) int64, a row for each
        triplet and person; and the number of each such row's triplet, (k,), ascending.
    """
    ordered, order = triplets.sort(dim=1)
    distinct, group = ordered.unique(dim=0, return_inverse=True)
    people = int(person.max()) + 1 if len(person) else 1
    answers, row = (group * people + person).unique(return_inverse=True)
    own = torch.zeros(len(answers), 3, dtype=torch.int64).index_add_(0, row, (order == odd[:, None]).long())
    return distinct, own, answers // people
