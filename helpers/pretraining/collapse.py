"""What shows that a self-supervised network maps all images to the same: spread and rank."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def relative_spread(vectors: Tensor) -> float:
    """How far n vectors (n, d) of length 1 lie apart: 0 if all are the same, about 1 if spread.

    The mean over dimensions of the standard deviation of the vectors, brought to length 1, times
    the root of d: the measure of collapse of Chen & He (SimSiam, CVPR 2021), which for independent
    normal dimensions is 1.
    """
    units = F.normalize(vectors.float(), dim=1)
    return float(units.std(dim=0, correction=0).mean() * math.sqrt(vectors.shape[1]))


def effective_rank(vectors: Tensor) -> float:
    """Effective number of dimensions of n vectors (n, d), 1 to min(n - 1, d); 0 if all are equal.

    exp(-sum_k p_k log p_k) with p_k the singular values of the centred matrix divided by their sum
    (Roy & Vetterli 2007). Differences below the precision of float32 count as none.
    """
    vectors = vectors.cpu().double()
    values = torch.linalg.svdvals(vectors - vectors.mean(dim=0))
    if values[0] <= 1e-6 * torch.linalg.matrix_norm(vectors):
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())
