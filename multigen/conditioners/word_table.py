"""The table of a text encoder's embeddings with rows for new words at its end."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WordTable(nn.Module):
    """ids -> embeddings: the encoder's own table up to its number of rows N, `rows` [n, K] from N on.

    The rows are a parameter of their own, so that they can learn while the table stays bit for bit.
    """

    def __init__(self, table: nn.Embedding, rows: Tensor) -> None:
        super().__init__()
        self.table, self.rows = table, nn.Parameter(rows.to(table.weight), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [B, L], int64 -> [B, L, K]."""
        n = self.table.num_embeddings
        own, new = self.table(ids.clamp(max=n - 1)), F.embedding((ids - n).clamp(min=0), self.rows)
        return torch.where((ids >= n)[..., None], new, own)
