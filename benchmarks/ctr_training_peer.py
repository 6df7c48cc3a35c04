"""The peer's side of ctr_training.py: FuxiCTR's loader, trainer and layers.

FuxiCTR's package brings layers and the trainer, not its models: they are put together here the way its collection of
models does it. QNN-alpha takes one look-up and two passes of the stack per step, like its authors' code.
"""

from __future__ import annotations

import gc
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import CrossNetV2, FactorizationMachine, FeatureEmbedding, LogisticRegression, MLP_Block
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything
from sklearn.metrics import roc_auc_score
from torch import nn

from peers import serve

held: dict[str, Any] = {}


class Model(BaseModel):
    """What all five share: the settings of the published runs, plain cross-entropy, dense Adam."""

    def __init__(self, feature_map: FeatureMap) -> None:
        super().__init__(
            feature_map,
            model_id="peer",
            gpu=-1,
            embedding_regularizer=1e-5,
            metrics=["AUC"],
            verbose=0,
            model_root=tempfile.mkdtemp(prefix="palate-peer-"),
        )

    def ready(self) -> Model:
        """Choose optimiser and loss, and draw the weights."""
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        return self


class LR(Model):
    """Logistic regression."""

    def __init__(self, feature_map: FeatureMap) -> None:
        super().__init__(feature_map)
        self.lr = LogisticRegression(feature_map)

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the predictions under the names that the trainer expects."""
        return {"y_pred": torch.sigmoid(self.lr(self.get_inputs(inputs)))}


class FM(Model):
    """Factorisation machine."""

    def __init__(self, feature_map: FeatureMap, embedding_size: int) -> None:
        super().__init__(feature_map)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_size)
        self.fm = FactorizationMachine(feature_map)

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the predictions under the names that the trainer expects."""
        x = self.get_inputs(inputs)
        return {"y_pred": torch.sigmoid(self.fm(x, self.embedding_layer(x)))}


class DeepFM(Model):
    """Factorisation machine and tower."""

    def __init__(self, feature_map: FeatureMap, embedding_size: int, hidden: list[int], dropout: float) -> None:
        super().__init__(feature_map)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_size)
        self.fm = FactorizationMachine(feature_map)
        self.mlp = MLP_Block(
            input_dim=feature_map.sum_emb_out_dim(), output_dim=1, hidden_units=hidden, dropout_rates=dropout
        )

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the predictions under the names that the trainer expects."""
        x = self.get_inputs(inputs)
        fields = self.embedding_layer(x)
        return {"y_pred": torch.sigmoid(self.fm(x, fields) + self.mlp(fields.flatten(start_dim=1)))}


class DCNv2(Model):
    """Cross network beside a tower."""

    def __init__(
        self, feature_map: FeatureMap, embedding_size: int, num_layers: int, hidden: list[int], dropout: float
    ) -> None:
        super().__init__(feature_map)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_size)
        width = feature_map.sum_emb_out_dim()
        self.crossnet = CrossNetV2(width, num_layers)
        self.mlp = MLP_Block(input_dim=width, output_dim=None, hidden_units=hidden, dropout_rates=dropout)
        self.fc = nn.Linear(width + hidden[-1], 1)

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the predictions under the names that the trainer expects."""
        x = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        return {"y_pred": torch.sigmoid(self.fc(torch.cat([self.crossnet(x), self.mlp(x)], dim=-1)))}


class KhatriRao(nn.Module):
    """One layer of QNN-alpha with one head, the product of input and rows materialised."""

    def __init__(self, width: int, num_rows: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.Linear(width, num_rows * width), nn.ReLU(), nn.Dropout(dropout))
        self.num_rows = num_rows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[B, d]`` from ``[B, d]``."""
        rows = self.linear(x).view(len(x), self.num_rows, -1)
        return torch.einsum("bd,brd->brd", x, rows).sum(dim=1) + x


class QNNAlpha(Model):
    """QNN-alpha with the self-ensemble loss."""

    def __init__(
        self, feature_map: FeatureMap, embedding_size: int, num_layers: int, num_rows: int, dropout: float
    ) -> None:
        super().__init__(feature_map)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_size)
        width = feature_map.sum_emb_out_dim()
        layers = [nn.Sequential(KhatriRao(width, num_rows, dropout), nn.Dropout(dropout)) for _ in range(num_layers)]
        self.qnn = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the predictions under the names that the trainer expects."""
        x = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        first = torch.sigmoid(self.qnn(x))
        if not self.training:
            return {"y_pred": first}
        second = torch.sigmoid(self.qnn(x))
        return {"y_pred": (first + second) * 0.5, "first": first, "second": second}

    def add_loss(self, return_dict: dict[str, torch.Tensor], y_true: torch.Tensor) -> torch.Tensor:
        """Return the self-ensemble loss of the two passes."""
        mean = return_dict["y_pred"]
        target = mean.detach()
        return (
            self.loss_fn(mean, y_true, reduction="mean")
            + self.loss_fn(return_dict["first"], target, reduction="mean")
            + self.loss_fn(return_dict["second"], target, reduction="mean")
        )


MODELS = {"lr": LR, "fm": FM, "deepfm": DeepFM, "dcnv2": DCNv2, "qnn-alpha": QNNAlpha}


def feature_map(folder: Path) -> FeatureMap:
    """Return FuxiCTR's description of the stored table."""
    sizes = json.loads((folder / "sizes.json").read_text())
    features = [
        {name: {"type": "categorical", "source": "", "vocab_size": size, "padding_idx": 0}}
        for name, size in sizes.items()
    ]
    described = {"dataset_id": "generated", "labels": ["label"], "features": features}
    described["num_fields"] = described["input_length"] = len(sizes)
    described["total_features"] = sum(sizes.values())
    path = folder / "feature_map.json"
    path.write_text(json.dumps(described))
    found = FeatureMap("generated", str(folder))
    found.load(str(path), {"embedding_dim": 16})
    return found


def loader(folder: Path, part: str, batch_size: int) -> Any:
    """Return FuxiCTR's loader of one part, with its default of one worker."""
    stage = "train" if part == "train" else "test"
    paths = {"train_data" if part == "train" else "test_data": str(folder / f"{part}.npz")}
    made = RankDataLoader(
        held["map"],
        stage=stage,
        batch_size=batch_size,
        shuffle=part == "train",
        data_format="npz",
        num_workers=1,
        **paths,
    )
    return made[0] if part == "train" else made


def build(model: str, settings: dict[str, Any], folder: str, batch_size: int, seed: int = 0) -> None:
    """Make the model and its loaders; this is not part of any timing."""
    seed_everything(seed)
    held["map"] = feature_map(Path(folder))
    if "embedding_size" in settings:
        held["map"].default_emb_dim = settings["embedding_size"]
    held["model"] = MODELS[model](held["map"], **settings).ready()
    held["train"] = loader(Path(folder), "train", batch_size)
    held["validation"] = loader(Path(folder), "validation", 8192)
    held["model"]._max_gradient_norm = 10.0
    held["model"]._eval_steps = 1 << 60  # validation is asked for, outside the clock
    held["model"]._total_steps = 0
    held["model"]._stop_training = False


def train_epoch() -> dict[str, float]:
    """Train one epoch by FuxiCTR's own trainer; its loader's process counts to the processor time."""
    start, cpu = time.perf_counter(), _cpu_seconds()
    held["model"].train_epoch(held["train"])
    seconds = time.perf_counter() - start
    gc.collect()  # ends the loader's process, whose time the system adds up only then
    return {"seconds": seconds, "cpu": _cpu_seconds() - cpu}


def _cpu_seconds() -> float:
    taken = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in taken)


def validate() -> dict[str, float]:
    """Return the AUC on the validation part, ranked by FuxiCTR's predictions, and the number of parameters."""
    predicted = held["model"].predict(held["validation"])
    labels = np.concatenate([batch["label"].numpy() for batch in held["validation"]])
    return {
        "auc": float(roc_auc_score(labels, predicted)),
        "parameters": sum(weight.numel() for weight in held["model"].parameters()),
    }


def first_batch(folder: str, batch_size: int) -> dict[str, float]:
    """Time the way from the stored table to the first batch."""
    held["map"] = feature_map(Path(folder))
    start = time.perf_counter()
    batch = next(iter(loader(Path(folder), "train", batch_size)))
    return {"seconds": time.perf_counter() - start, "rows": len(batch["label"])}


if __name__ == "__main__":
    serve({"build": build, "train_epoch": train_epoch, "validate": validate, "first_batch": first_batch})
