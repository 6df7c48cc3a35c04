"""What an upload gives away: the nearest item vector to each uploaded state is the item that was clicked."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["recover_items"]


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
