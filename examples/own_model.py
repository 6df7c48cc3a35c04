"""A ranker of one's own in thirty lines, held to the laws of a ranker: `python examples/own_model.py`."""

from torch import nn

from palate.config import ModelConfig
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.registry import register
from palate.testing import check_ranker


class BilinearConfig(ModelConfig):
    """Settings of the example."""

    embedding_size: int = 8


@register("ranker", "example-bilinear", source="this example", status="preview")
class Bilinear(Ranker):
    """A full bilinear form between the mean of all fields and each of them."""

    Config = BilinearConfig

    def __init__(self, spec, config, *, vectors=None):
        super().__init__(spec, config)
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors, init_std=0.1)
        self.form = nn.Bilinear(config.embedding_size, config.embedding_size, 1)

    def forward(self, batch):
        """Return logits ``[B]``."""
        fields = self.embedding(batch)
        mean = fields.mean(1, keepdim=True).expand_as(fields)
        return self.form(mean, fields).sum((1, 2)).float()


print(check_ranker("example-bilinear"))
