"""The attack on uploaded states."""

from __future__ import annotations

import torch

from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.inversion import recover_items


def test_uploaded_states_give_the_clicks_away() -> None:
    torch.manual_seed(0)
    made = CoCorrRec(1000, CoCorrRecConfig.sized("base"))
    items = torch.randint(1, 1001, (200,))
    vectors = made.hidden(torch.arange(1001))
    sent = made.hidden(items)
    assert (recover_items(sent, vectors) == items).float().mean() == 1.0
    noisy = sent + sent.std() * torch.randn_like(sent)
    assert (recover_items(noisy, vectors) == items).float().mean() > 0.95
    drowned = sent + 10 * sent.std() * torch.randn_like(sent)
    assert (recover_items(drowned, vectors) == items).float().mean() < 0.2
