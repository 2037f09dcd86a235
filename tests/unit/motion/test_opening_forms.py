"""Eyes and mouth as forms of the face channels, and what quantisation makes of them."""

import numpy as np

from facecodec.motion.expression import MESH_WEIGHT, opening_forms, opening_nearness
from facecodec.motion.face import POSE_CHANNELS, load_face_model
from facecodec.motion.predict import ONE, reconstruct
from facecodec.motion.quantise import quantisation_step, quantise


def test_forms_say_how_far_eyes_and_mouth_open():
    model, forms = load_face_model(), opening_forms()
    assert forms.shape == (3, model.channels)
    assert not forms[:, :POSE_CHANNELS].any()
    for form, (upper, lower) in zip(forms, ((159, 145), (386, 374), (13, 14)), strict=True):
        opens = model.basis[:, lower, 1] - model.basis[:, upper, 1]
        assert np.corrcoef(form[POSE_CHANNELS:], opens)[0, 1] > 0.98


def test_openings_are_coded_closer_than_without_forms():
    forms, rng = opening_forms(), np.random.default_rng(3)
    channels = forms.shape[1]
    start = np.zeros((2, channels), np.int32)
    steps = rng.normal(0, 1.2, (16, channels)).cumsum(0) / np.sqrt(1 + np.arange(channels))
    target = steps * quantisation_step(18)
    weights = np.full((16, channels), MESH_WEIGHT)

    def errors(values):
        miss = values / ONE - steps
        return np.square(miss @ forms.T)[:-1].mean(), np.square(miss).mean()

    plain = errors(reconstruct(quantise(target, 18, start, True, weights=weights), start, True))
    held = errors(reconstruct(quantise(target, 18, start, True, weights=weights, forms=forms), start, True))
    assert held[0] < 0.5 * plain[0]
    assert held[1] < 1.3 * plain[1]


def test_nearness_is_one_at_lids_and_lips_and_nothing_on_the_cheek():
    near = opening_nearness(0.25)
    assert near.shape == (478,)
    assert near[[159, 145, 386, 374, 13, 14]].min() == 1
    assert near[[10, 152, 234, 454, 4]].max() == 0
