"""What an upload of hidden states gives away: the nearest item vector to each state is the item that was clicked."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["item_posterior", "recover_items"]


@torch.inference_mode()
def recover_items(uploaded: Tensor, vectors: Tensor) -> Tensor:
    """Return the item whose vector is nearest to each uploaded state: an attack, to report its success honestly.

    Equation:
        item_n = argmin over j in 1..V of || uploaded_n - vectors_j ||^2

    Args:
        uploaded: What was sent, ``[n, D]``, noise included.
        vectors: The public vectors of all items in the space of the upload, ``[V + 1, D]``; row 0 is padding.

    Shapes:
        int64 ``[n]`` in 1..V.

    Example:
        >>> recover_items(torch.tensor([[0.9, 0.2]]), torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
        tensor([2])
    """
    distance = vectors[1:].square().sum(1)[None, :] - 2.0 * uploaded @ vectors[1:].T
    return distance.argmin(1) + 1


@torch.inference_mode()
def item_posterior(uploaded: Tensor, vectors: Tensor, noise: float, log_prior: Tensor) -> Tensor:
    """Return how likely each item is behind each uploaded state, for one who knows the noise and the popularities.

    Equation:
        log p(j | uploaded_n) = log p(j) - || uploaded_n - vectors_j ||^2 / (2 noise^2) + constant

    Args:
        uploaded: What was sent, ``[n, D]``, noise included.
        vectors: The public vectors of all items in the space of the upload, ``[V + 1, D]``; row 0 is padding.
        noise: Standard deviation of the Gaussian noise, above 0.
        log_prior: Logarithm of how often each item is clicked, ``[V + 1]``.

    Shapes:
        log-probabilities ``[n, V + 1]``, ``-inf`` for padding.
    """
    distance = vectors.square().sum(1)[None, :] - 2.0 * uploaded @ vectors.T
    evidence = log_prior - distance / (2.0 * noise**2)
    evidence[:, 0] = float("-inf")
    return evidence.log_softmax(1)
