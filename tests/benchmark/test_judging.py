"""What the networks see, and what is left out where their weights are absent."""

import numpy as np
import pytest

from facecodec.benchmark import quality as quality_module
from facecodec.benchmark.quality import Judge, Networks, Sampling
from facecodec.errors import WeightsError


class Counter:
    """A stand-in for a network that counts what it is shown."""

    def __init__(self, value):
        self.value, self.shapes = value, []

    def distance(self, source, decoded):
        self.shapes.append(source.shape)
        return self.value

    def similarity(self, source, decoded, source_mesh, decoded_mesh):
        assert np.isfinite(source_mesh).all()
        assert np.isfinite(decoded_mesh).all()
        self.shapes.append(source.shape)
        return self.value


@pytest.fixture
def judged(monkeypatch):
    rng = np.random.default_rng(0)
    source = rng.integers(0, 255, (11, 64, 64, 3), dtype=np.uint8)
    track = rng.uniform(0.3, 0.7, (11, 478, 3)).astype(np.float32)
    track[5] = np.nan
    lost = track.copy()
    lost[10] = np.nan
    monkeypatch.setattr(quality_module, "track_clip", lambda frames: lost)
    networks = quality_module.Networks(Counter(0.1), Counter(0.2), Counter(0.3), Counter(0.9))
    judge = quality_module.Judge(source, track, networks, quality_module.Sampling(5, 10))
    return judge.measure(np.roll(source, 1, axis=2)), networks


def test_networks_see_every_nth_frame(judged):
    quality, networks = judged
    # Frames 0, 5 and 10 whole; eyes and mouth and identity where the source shows a face.
    assert [s[0] for s in networks.lpips.shapes].count(64) == 3
    assert len(networks.lpips.shapes) == 3 + 2 * 2
    assert len(networks.lpips_vgg.shapes) == len(networks.dists.shapes) == 2
    assert len(networks.identity.shapes) == 2
    found = (quality.lpips, quality.lpips_eyes, quality.lpips_vgg, quality.dists, quality.identity)
    assert found == pytest.approx((0.1, 0.1, 0.2, 0.3, 0.9))
    assert quality.faces == pytest.approx(9 / 11)


@pytest.mark.parametrize(
    ("count", "every", "wanted"),
    [(250, 50, [25, 75, 125, 175, 225]), (76, 50, [25, 75]), (75, 50, [25]), (49, 50, [24]), (30, 50, [15]),
     (4, 1, [0, 1, 2, 3]), (1, 50, [0]), (250, 0, [])],
)  # fmt: skip
def test_the_costliest_networks_see_the_middle_of_every_stretch(count, every, wanted):
    class Bright:
        def distance(self, source, decoded):
            return float(decoded[0, 0, 0])

    assert list(quality_module.deep_frames(count, every)) == wanted
    frames = np.zeros((count, 4, 4, 3), np.uint8)
    frames[:, 0, 0, 0] = np.arange(count)
    judge = Judge(frames, np.zeros((count, 478, 3), np.float32), Networks(dists=Bright()), Sampling(1, every))
    assert judge.measure_deep(frames) == {"lpips_vgg": None, "dists": np.mean(wanted) if wanted else None}


def test_measures_without_networks_are_none(judged):
    rng = np.random.default_rng(0)
    source = rng.integers(0, 255, (11, 64, 64, 3), dtype=np.uint8)
    track = np.full((11, 478, 3), np.nan, np.float32)
    quality = Judge(source, track, Networks(), Sampling()).measure(source)
    assert (quality.lpips, quality.lpips_vgg, quality.dists, quality.identity) == (None,) * 4
    assert quality.psnr == 100.0


def test_absent_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("FACECODEC_SFACE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("FACECODEC_DISTS_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("FACECODEC_FFMPEG", str(tmp_path / "none"))
    found = quality_module.available(False, tmp_path, True)
    assert sorted(found) == ["dists", "identity", "lpips", "lpips_vgg", "vmaf"]
    assert "libvmaf" in found.pop("vmaf")
    assert all("not found" in reason for reason in found.values())
    assert quality_module.available(True, None, True) == {}
    assert sorted(quality_module.available(False, tmp_path, False)) == ["identity", "lpips", "vmaf"]
    with pytest.raises(WeightsError, match="alexnet"):
        quality_module.load_networks(["lpips"], tmp_path)
    assert quality_module.load_networks([], tmp_path) == quality_module.Networks()


def test_the_worst_twentieth_of_the_frames_and_what_small_pictures_leave_out(monkeypatch):
    source = np.random.default_rng(4).integers(60, 200, (40, 64, 64, 3), dtype=np.uint8)
    decoded = source.copy()
    decoded[::2] += 1
    decoded[[7, 30]] += 16  # two of forty frames: the worst 5 %
    track = np.full((40, 478, 3), np.nan, np.float32)
    monkeypatch.setattr(quality_module, "track_clip", lambda frames: track)

    class Fixed:
        def of_frames(self, x, y):
            return np.linspace(20, 40, len(x))

    networks = Networks(vmaf=Fixed())
    quality = Judge(source, track, networks, Sampling()).measure(decoded)

    decibels = [10 * np.log10(255**2 / d**2) for d in (16, 17)]  # frame 30 is off by one more
    assert quality.psnr_worst5 == pytest.approx(np.mean(decibels), abs=1e-4)
    assert quality.vmaf == pytest.approx(30.0)
    assert quality.ms_ssim is None  # below 176 pixels
    assert Judge(source[:, :63], track, networks, Sampling()).measure(decoded[:, :63]).vmaf is None


@pytest.mark.parametrize(("count", "every", "worst"), [(40, 1, 2), (41, 1, 3), (40, 10, 1), (40, 2, 1)])
def test_the_worst_twentieth_in_lpips_is_that_of_the_frames_it_saw(monkeypatch, count, every, worst):
    rng = np.random.default_rng(1)
    values = rng.permutation(count) + 1

    class Marked:
        def distance(self, source, decoded):
            return float(decoded[0, 0, 0])

    monkeypatch.setattr(quality_module, "track_clip", lambda frames: track)
    track = np.full((count, 478, 3), np.nan, np.float32)
    source = np.zeros((count, 16, 16, 3), np.uint8)
    decoded = source.copy()
    decoded[:, 0, 0, 0] = values
    quality = Judge(source, track, Networks(lpips=Marked()), Sampling(every, 0)).measure(decoded)
    seen = sorted(values[::every], reverse=True)
    assert quality.lpips == pytest.approx(np.mean(seen))
    assert quality.lpips_worst5 == pytest.approx(np.mean(seen[:worst]))
    assert quality.lpips_worst5 > quality.lpips
