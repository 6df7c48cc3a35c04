"""How many parameters a quadratic network has, without building it."""

from __future__ import annotations

from palate.data.features import FeatureSpec
from palate.rank.neuron_formats import Affine, Bilinear, neuron_format
from palate.rank.qnn import QNNConfig
from palate.rank.qnn_alpha import QNNAlphaConfig

__all__ = ["neuron_parameters", "qnn_alpha_parameters", "qnn_parameters"]


def neuron_parameters(name: str, width: int, *, batch_norm: bool = False) -> int:
    """Return the number of parameters of one layer of a neuron format.

    Args:
        name: ``T1`` to ``T30``.
        width: Width ``d``.
        batch_norm: Count a BatchNorm (two numbers per output) after every map.

    Example:
        >>> neuron_parameters("T9", 624) == 624**2 + 624
        True
    """
    total = 0
    for declared in neuron_format(name).maps:
        if isinstance(declared, Affine):
            inputs, outputs = int(declared.inputs * width), int(declared.outputs * width)
            total += inputs * outputs + outputs + (2 * outputs if batch_norm else 0)
        elif isinstance(declared, Bilinear):
            total += width**3 + width + (2 * width if batch_norm else 0)
        else:
            total += width
    return total


def qnn_parameters(spec: FeatureSpec, config: QNNConfig) -> int:
    """Return the number of parameters of a :class:`~palate.rank.qnn.QNN` over categorical and sequence fields.

    Example:
        >>> qnn_parameters(FeatureSpec.from_sizes(user=10, item=20), QNNConfig(num_layers=1, embedding_size=4))
        201
    """
    width = spec.num_fields * config.embedding_size
    total = spec.num_ids * config.embedding_size
    if neuron_format(config.neuron).cubic:
        total += width * config.reduced_width
        width = config.reduced_width
    layer = neuron_parameters(config.neuron, width, batch_norm=config.batch_norm == "inside")
    layer += 2 * width if config.batch_norm == "after" else 0
    return total + config.num_layers * layer + width + 1


def qnn_alpha_parameters(spec: FeatureSpec, config: QNNAlphaConfig) -> int:
    r"""Return the number of parameters of a :class:`~palate.rank.qnn_alpha.QNNAlpha`.

    .. math:: \sum_f V_f D + L\,(R d^2 + R d\ [+\ 2 R d \text{ with BatchNorm}]) + d + 1

    for categorical and sequence fields.

    Example:
        >>> spec = FeatureSpec.from_sizes(user=10, item=20)
        >>> qnn_alpha_parameters(spec, QNNAlphaConfig(num_layers=1, embedding_size=4))
        273
    """
    width = spec.num_fields * config.embedding_size
    outputs = config.num_rows * width
    layer = outputs * width + outputs + (2 * outputs if config.batch_norm else 0)
    return spec.num_ids * config.embedding_size + config.num_layers * layer + width + 1
