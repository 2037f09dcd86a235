"""Weights of the face channels in quantisation."""

import numpy as np

from facecodec.motion.expression import opening_weights
from facecodec.motion.face import POSE_CHANNELS, load_face_model


def test_channels_that_open_eyes_or_mouth_weigh_most():
    model, weights = load_face_model(), opening_weights()
    assert weights.shape == (model.channels,)
    assert np.ptp(weights[:POSE_CHANNELS]) == 0
    assert weights.min() == weights[0] > 0
    for upper, lower in ((159, 145), (13, 14)):
        opens = ((model.basis[:, lower, :2] - model.basis[:, upper, :2]) ** 2).sum(-1)
        assert weights[POSE_CHANNELS + int(opens.argmax())] > 10 * weights[0]
