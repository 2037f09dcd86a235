"""Identity loss: the face of the prediction should be that of the target to a face recognition network."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from facecodec.errors import ShapeError
from facecodec.metrics.identity import SFace, align


class IdentityLoss(nn.Module):
    """1 - cosine of the SFace embeddings of both faces, cut out by the mesh. For whole pictures, not windows.

    Args:
        folder: folder of the weight file, see :class:`facecodec.metrics.identity.SFace`.

    Raises:
        WeightsError: weights absent, damaged or of another version.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        super().__init__()
        self.network = SFace(folder).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, prediction: Tensor, target: Tensor, mesh: Tensor) -> Tensor:
        """Mean over the batch.

        Args:
            prediction: [B, 3, S, S], about [0, 1].
            target: the same shape; takes no gradient.
            mesh: of both, [B, 478, 3], crop units.

        Returns:
            Scalar float32, 0 (the same face) to 2.

        Raises:
            ShapeError: shapes differ, or not one mesh for each picture.
        """
        if prediction.shape != target.shape:
            raise ShapeError("prediction", str(tuple(target.shape)), tuple(prediction.shape))
        with torch.autocast(prediction.device.type, enabled=False):
            with torch.no_grad():
                wanted = self.network(align(target.float(), mesh))
            made = self.network(align(prediction.float(), mesh))
        return 1 - functional.cosine_similarity(made, wanted).mean()
