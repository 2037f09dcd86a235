"""Generators against each other: columns, keys, bars, and a short run from end to end."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from facecodec.benchmark.results import save_results
from facecodec.errors import ConfigError, WeightsError
from tests.benchmark.synthetic import make_results

SAMPLE = Path(__file__).resolve().parents[3] / "samples" / "talking_head.mp4"
FRAMES = 6


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    """Weights of a toy generator fresh from its seed: it shows about what the warp shows."""
    from facecodec.generator.adaptive import AdaptiveGenerator
    from facecodec.generator.profile import PROFILES
    from facecodec.weights.store import save_weights

    torch.manual_seed(5)
    network = AdaptiveGenerator(PROFILES["toy"])
    return save_weights(tmp_path_factory.mktemp("weights"), network.state_dict(), "toy")


def clip_of(name, **variants):
    """A line of a result; of each variant LPIPS, PSNR and identity."""
    made = {}
    for variant, (lpips, psnr, identity) in variants.items():
        quality = {"lpips": lpips, "psnr": psnr, "identity": identity, "temporal": 2.0}
        made[variant] = {"quality": quality, "decode_ms": 10.0, "extra_kbps": 0.0}
    return {"clip": name, "kbps": 4.0, "variants": made}


@pytest.fixture
def lines():
    return [
        clip_of("a", base=(0.10, 25.0, 0.8), new=(0.06, 26.0, 0.9)),
        clip_of("b", base=(0.20, 23.0, 0.6), new=(0.21, 24.0, None)),
        clip_of("c", base=(0.30, 24.0, 0.7), new=(0.15, 24.0, 0.7)),
    ]


def test_figures_are_ratios_gains_and_losses(lines):
    from bars import BARS, figure, lost

    found = {bar.title: figure(lines, "new", "base", bar) for bar in BARS}
    assert found["LPIPS-alex / warp-0"] == pytest.approx(0.42 / 0.6)
    assert found["PSNR over warp-0, dB"] == pytest.approx(2 / 3)
    assert found["identity cosine over warp-0"] == pytest.approx(0.8 - 0.7)
    assert found["temporal error / warp-0"] == 1.0
    assert found["clips lost in LPIPS-alex"] == 1.0
    assert found["correlation of eye openness"] is None
    assert lost(lines, "new", "base") == ["b"]
    assert lost(lines, "base", "base") == []


def test_bars_hold_on_their_side():
    from bars import BARS

    by_title = {bar.title: bar for bar in BARS}
    ratio, gain = by_title["LPIPS-alex / warp-0"], by_title["PSNR over warp-0, dB"]
    assert [ratio.met(v) for v in (0.79, 0.8, 0.81, None)] == [True, True, False, None]
    assert [gain.met(v) for v in (0.69, 0.7, 0.71)] == [False, True, True]


def test_the_tables_hold_every_clip_and_name_what_was_left_out(lines):
    from bars import summary_table, verdicts

    text = summary_table([*lines, {"clip": "d", "skipped": "coded at 256"}], ["base", "new"], "base")
    assert "Mean over 3 clips, 4.00 kbit/s." in text
    assert "| b | 4.00 | 0.2000 (23.00) | 0.2100 (24.00) ! |" in text
    assert "| PSNR over warp-0, dB | at least 0.7 | 2 | (0.667) |" in text
    assert "d: coded at 256" in text
    found = verdicts(lines, ["base", "new"], "base")
    assert found["new"]["lost"] == ["b"]
    assert found["new"]["means"]["psnr"] == pytest.approx(74 / 3)
    json.dumps(found)


def test_readme_gets_a_line_for_each_measure_and_each_clip(lines):
    from readme import clips_table, generators_table, generators_text

    for line in lines:
        line["variants"]["warp-0"] = line["variants"].pop("base")
        line |= {"frames": 250, "references": 2}
    made = [{"name": name, "weights": weights} for name, weights in (("warp-0", ""), ("new", "12ab"))]
    clips = [*lines, {"clip": "d", "skipped": "no"}]
    result = {"clips": clips, "variants": made, "facts": {"commit": "c0"}, "settings": {"split": "test"}}
    table = generators_table(result)
    assert table.startswith("|  | warp-0 | new |\n")
    assert "| LPIPS-alex | 0.200 | 0.140 |" in table
    assert "| DISTS | - | - |" in table
    assert "| clips of 3 with more LPIPS-alex than warp-0 | - | 1 |" in table
    assert "| decoder, ms a frame | 10 | 10 |" in table
    text = generators_text(result)
    assert "`new` is new-12ab" in text
    assert "3 clips of split `test`, 250 frames of each at most" in text
    assert "4.00 kbit/s" in text
    assert clips_table(result).splitlines()[3].startswith("| b | 250 | 4.00 | 2 | 0.200 | 0.210 |")


def test_readme_s_figures_are_replaced_between_the_markers(tmp_path):
    import readme

    stored = Path(readme.__file__).parent / "results"
    for name in ("speed.json", "generators_test.json"):
        shutil.copy(stored / name, tmp_path)
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    run = ["--readme", str(page), "--results", str(tmp_path)]
    assert readme.main(run) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{readme.BEGIN}\n")
    assert text.endswith(f"\n{readme.END}\nafter\n")
    assert "old" not in text
    assert "| LPIPS-alex |" in text
    page.write_text("no markers")
    assert readme.main(run) == 2
    assert page.read_text() == "no markers"


def test_columns_follow_the_options(toy):
    from synthesis import Extras
    from variants import choose_variants

    names = [v.name for v in choose_variants("warp-0,lite,still")]
    assert names == ["warp-0", "still", "lite"]
    found = choose_variants("", [toy], (1, 4), patches=True)
    assert [v.name.removeprefix(toy.stem) for v in found[1:]] == [
        "",
        ", K = 4",
        ", patches",
        ", K = 4, patches",
    ]
    assert found[1].extras == Extras()
    assert found[1].extras.none
    assert found[4].extras == Extras(4, True, 60)
    assert choose_variants("", [toy], (2,), coded=False)[1].extras == Extras(2, False, None)
    found = choose_variants("", [toy], finetune=60, buffered=3)
    assert [(v.finetune, v.buffered) for v in found] == [(0, 1), (0, 1), (60, 1), (0, 3)]
    assert len({v.key() for v in found}) == len({v.name for v in found}) == 4


def test_keys_follow_weights_and_extras(toy, tmp_path):
    from synthesis import Extras
    from variants import Variant

    one = Variant("one", "auto", toy)
    assert one.weights_id() == toy.stem.split("-")[1]
    assert one.key() == Variant("other name", "auto", toy).key()
    assert one.key() != Variant("one", "auto", toy, Extras(2)).key()
    assert one.key() != Variant("warp-0", "warp-0").key()
    with pytest.raises(WeightsError, match=r"absent\.safetensors"):
        Variant("one", "auto", tmp_path / "absent.safetensors").key()


def test_digests_follow_what_is_imported(monkeypatch, tmp_path):
    from facecodec.benchmark import digests

    package = tmp_path / "facecodec"
    package.mkdir()
    (package / "a.py").write_text("from facecodec import b\n")
    (package / "b.py").write_text("def late():\n    from facecodec import d\n")
    for name in ("c", "d"):
        (package / f"{name}.py").write_text("")
    monkeypatch.setattr(digests, "_PACKAGE", package)

    def digest():
        digests.import_digest.cache_clear()
        return digests.import_digest(("facecodec.a",))

    before = digest()
    (package / "c.py").write_text("x = 1\n")
    (package / "d.py").write_text("x = 1\n")
    assert digest() == before
    (package / "b.py").write_text("x = 1\n")
    assert digest() != before
    digests.import_digest.cache_clear()


def test_shapes_leave_out_place_size_and_turn():
    from synthesis import REGIONS, shapes

    rng = np.random.default_rng(0)
    mesh = rng.normal(size=(1, 478, 3)).astype(np.float32)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]], np.float32)
    moved = mesh.copy()
    moved[..., :2] = mesh[..., :2] @ turn * 3 + 0.7
    assert np.allclose(shapes(mesh), shapes(moved), atol=1e-4)
    assert shapes(mesh, REGIONS[2]).shape == (1, 2 * len(REGIONS[2]))
    moved[0, REGIONS[2][0], 1] += 1
    assert not np.allclose(shapes(mesh, REGIONS[2]), shapes(moved, REGIONS[2]), atol=1e-2)


def test_the_farthest_are_chosen_first_and_none_twice():
    from synthesis import farthest

    seed = np.zeros(2, np.float32)
    candidates = np.array([[1, 0], [5, 0], [np.nan, 0], [4, 0], [0, 3], [0, 0]], np.float32)
    assert farthest(seed, candidates, 3) == [1, 4, 0]
    assert len(set(farthest(seed, candidates, 9))) == 4
    assert farthest(seed, candidates[5:], 2) == []


def test_the_warp_takes_no_extras():
    from synthesis import ExtraDecoder, Extras

    from facecodec.generator.select import load_generator

    device = torch.device("cpu")
    warp = load_generator("warp-0", device)
    source, track = np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 478, 3), np.float32)
    with pytest.raises(ConfigError, match="learned"):
        ExtraDecoder(warp, device, source, track, Extras(2))


@pytest.mark.parametrize("better", [True, False])
def test_fitted_weights_are_made_once_and_taken_where_they_are_better(toy, tmp_path, monkeypatch, better):
    import variants

    calls = []

    def fit(stream, weights, out, settings):
        calls.append((stream, weights, settings.iterations))
        if better:
            (out / "toy-personal.safetensors").write_bytes(b"x")

    monkeypatch.setattr(variants, "finetune", fit)
    bench = variants.ClipBench(SAMPLE, tmp_path / "x.fcv", variants.Settings(cache=tmp_path))
    variant = variants.Variant("fitted", "auto", toy, finetune=7)
    found = {bench._fitted(variant) for _ in range(2)}
    assert [path.name for path in found] == ["toy-personal.safetensors" if better else toy.name]
    assert calls == [(tmp_path / "x.fcv", toy, 7)]
    with pytest.raises(WeightsError, match="folder"):
        variants.ClipBench(SAMPLE, tmp_path / "x.fcv", variants.Settings())._fitted(variant)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "talking_head.mp4").symlink_to(SAMPLE)
    (tmp_path / "manifest.csv").write_text("file,split\ntalking_head.mp4,test\n")
    return tmp_path


def test_a_run_from_end_to_end(data, toy, capsys):
    from generators import main

    out = data / "results" / "r.json"
    options = ["--data", str(data), "--frames", str(FRAMES), "--no-lpips", "--generators", "still"]
    options += ["--weights", str(toy), "--references", "1,2", "--patches", "--out", str(out)]
    assert main(options) == 0
    result = json.loads(out.read_text())
    (line,) = result["clips"]
    assert line["frames"] == FRAMES
    names = ["warp-0", "still", toy.stem, f"{toy.stem}, K = 2"]
    names += [f"{toy.stem}, patches", f"{toy.stem}, K = 2, patches"]
    assert list(line["variants"]) == names
    made = {name: line["variants"][name] for name in names}
    # Fresh from its seed the network shows the warp; still and K = 2 are something else.
    assert made[toy.stem]["quality"]["psnr"] == pytest.approx(made["warp-0"]["quality"]["psnr"], abs=0.3)
    assert made["still"]["quality"]["psnr"] != pytest.approx(made["warp-0"]["quality"]["psnr"], abs=1e-3)
    assert made[names[3]]["extra_kbps"] > 0
    assert made[names[4]]["extra_kbps"] == 0
    assert made["still"]["quality"]["lpips"] is None
    assert made["still"]["decode_ms"] == 0 < made["warp-0"]["decode_ms"]
    assert [v["weights"] for v in result["variants"][:3]] == ["", "", toy.stem.split("-")[1]]
    assert f"| {toy.stem}, K = 2 |" in capsys.readouterr().out
    written = {path: path.stat().st_mtime_ns for path in (out.parent / "cache").iterdir()}
    assert len(written) == 1 + len(names)
    assert main([*options[:-5], "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in (out.parent / "cache").iterdir()} == written


def test_clips_that_are_too_small_or_damaged_are_named(data):
    from clips import Clip
    from generators import attempt, parse_args

    options = ["--data", str(data), "--frames", "3", "--no-lpips", "--out", str(data / "r.json")]
    (data / "bad.mp4").write_bytes(b"no video")
    found = attempt(Clip("bad", data / "bad.mp4", "test"), parse_args(options))
    assert found["failed"]
    assert "bad.mp4" in found["skipped"]
    args: Namespace = parse_args([*options, "--size", "512"])
    found = attempt(Clip("talking_head", SAMPLE, "test"), args)
    assert "failed" not in found
    assert found["skipped"] == f"coded at {found['size']}"
    assert found["size"] < 512


def test_readme_s_section_on_rate_follows_the_results(tmp_path):
    import readme

    pytest.importorskip("bjontegaard")
    stored = Path(readme.__file__).parent / "results"
    for name in ("speed.json", "generators_test.json"):
        shutil.copy(stored / name, tmp_path)
    page = tmp_path / "README.md"
    both = f"a\n{readme.RD_BEGIN}\nold\n{readme.RD_END}\nb\n{readme.BEGIN}\n{readme.END}\n"
    both += f"{readme.LIMITS_BEGIN}\n* PSNR was lower.\n{readme.LIMITS_END}\n"
    page.write_text(both)
    run = ["--readme", str(page), "--results", str(tmp_path)]
    assert readme.main(run) == 0
    assert "old" in page.read_text()  # no results yet: what is there stays
    save_results(make_results(2), tmp_path / "rd_test.json")
    assert readme.main(run) == 0
    text = page.read_text()
    assert "old" not in text
    assert "2 clips of set `test`, 250 frames each; commit 0123456789ab" in text
    assert "(rd_test.png)" in text
    assert "| LPIPS-alex |" in text
    limits = text.split(readme.LIMITS_BEGIN)[1].split(readme.LIMITS_END)[0]
    assert "PSNR was lower" not in limits
    assert "PSNR-Y: x264-ld is ahead from 5.0 kbit/s on, " in limits
    for name in ("rd_test.png", "rd_test_others.png"):
        assert f"({name})" in text
        assert (tmp_path / name).stat().st_size > 1000
    again = text.split(readme.RD_END)[0]
    assert readme.main(run) == 0
    assert page.read_text().split(readme.RD_END)[0] == again
    page.write_text(f"{readme.BEGIN}\n{readme.END}\n")
    assert readme.main(run) == 2
    (tmp_path / "rd_test.json").write_text("{}")
    page.write_text(both)
    assert readme.main(run) == 2
    assert page.read_text() == both


def test_the_repository_s_readme_has_the_figures_of_its_results():
    """It fails where results were stored without ``python bench/readme.py``."""
    import readme

    pytest.importorskip("bjontegaard")
    folder = Path(readme.__file__).parent
    text = (folder.parent / "README.md").read_text(encoding="utf-8")
    made = readme.page(text, folder / "results", folder.parent, draw=False)
    assert made.splitlines() == text.splitlines()
