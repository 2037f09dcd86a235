"""Whole runs: what is cached, resumed, left out; local processes and a Dask cluster."""

import json
import math
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import facecodec
from facecodec import EncoderConfig, SpeedConfig
from facecodec.benchmark import anchors, own, points, sweep
from facecodec.benchmark import jobs as jobs_module
from facecodec.benchmark.ffmpeg import library_version
from facecodec.benchmark.jobs import Job, Measuring, point_key
from facecodec.benchmark.kept import without_deep
from facecodec.benchmark.plan import plan
from facecodec.benchmark.points import is_done, run_job
from facecodec.benchmark.quality import Judge, Networks, Sampling
from facecodec.benchmark.results import Sampled
from facecodec.benchmark.workers import DaskWorkers, InProcess, LocalProcesses
from facecodec.errors import ConfigError, MediaError, TransportError

from .conftest import FRAMES, SAMPLES


@pytest.fixture
def settings(bench_cache):
    return sweep.Settings(
        "tests",
        bench_cache,
        ("x264", "vp9"),
        points=2,
        scales=(2,),
        sampling=Sampling(5, 0),
        no_networks=True,
    )


def refuse(*args, **kwargs):
    raise AssertionError("coded again")


def square(number):
    if number < 0:
        raise ValueError("negative")
    return number * number


def test_a_run_measures_every_codec_and_the_next_one_takes_the_cache(
    sample, settings, ffmpeg, monkeypatch, bench_cache
):
    steps = []
    results = sweep.run([sample], settings, on_step=steps.append)
    made = [(p.codec, p.scale, p.setting) for p in results.points]
    assert sorted(made[:2]) == [("x264", 2, "crf 51"), ("x264", 2, "qp 51")]
    assert made[2:] == [("x264", 2, "crf 24"), ("vp9", 2, "crf 63"), ("vp9", 2, "crf 27")]
    assert [(s.phase, s.done, s.total) for s in steps] == [
        ("clips", 1, 1),
        *(("points", i, 5) for i in range(1, 6)),
    ]
    for point in results.points:
        assert point.kbps == pytest.approx(point.size_bytes * 8 * point.fps / FRAMES / 1000)
        assert point.cost.encode_fps > 0
        assert math.isfinite(point.quality.landmark_px)
        assert point.quality.lpips is None
        assert 0 < point.still_share < 1
        assert "veryslow" in point.command or "cpu-used" in point.command
    assert re.fullmatch(r"libx264 core \d+.* in FFmpeg \S+", results.points[0].version)
    assert results.sampled == Sampled(5, 0, 2)
    assert results.points[0].quality.psnr < results.points[2].quality.psnr
    monkeypatch.setattr(anchors, "encode", refuse)
    monkeypatch.setattr(anchors, "decode", refuse)
    again = sweep.run([sample], settings)
    assert again.points == results.points


def test_another_measuring_takes_the_streams_that_are_there(sample, settings, ffmpeg, monkeypatch):
    sweep.run([sample], settings)
    monkeypatch.setattr(anchors, "encode", refuse)
    other = replace(settings, codecs=("x264",), sampling=Sampling(3, 0))
    assert len(sweep.run([sample], other).points) == 3


def test_a_run_that_was_broken_off_goes_on(clip, settings, ffmpeg, tmp_path, monkeypatch):
    how = Measuring(tmp_path, Sampling(5, 0), ())
    jobs = plan([clip], ("x264",), 2, (4,))
    run_job(jobs[0], how)
    assert [is_done(job, how) for job in jobs] == [True, False, False]
    made = []
    encode = anchors.encode
    monkeypatch.setattr(anchors, "encode", lambda *args: made.append(args[3]) or encode(*args))
    points_found, left_out = sweep._run_jobs(jobs, how, InProcess(), lambda step: None)
    assert len(points_found) == 3
    assert not left_out
    assert made == [job.setting for job in jobs[1:]]


def test_a_damaged_entry_of_the_cache_is_made_again(clip, ffmpeg, tmp_path):
    how, job = Measuring(tmp_path, Sampling(5, 0), ()), Job(clip, "x264", ("x264",), 4, "crf 45")
    first = run_job(job, how)[0][0]
    for path in [*(tmp_path / "points").iterdir(), *(tmp_path / "streams").glob("*.json")]:
        path.write_text("{")
    assert not is_done(job, how)
    again = run_job(job, how)[0][0]
    assert (again.size_bytes, again.quality) == (first.size_bytes, first.quality)


def test_the_costliest_measures_are_added_to_points_that_are_there(clip, ffmpeg, tmp_path, monkeypatch):
    class Half:
        def distance(self, source, decoded):
            return 0.5

    networks = Networks(lpips_vgg=Half(), dists=Half())
    monkeypatch.setattr(points, "_networks", lambda names, folder: networks if names else Networks())
    shallow, job = Measuring(tmp_path, Sampling(5, 0), ()), Job(clip, "x264", ("x264",), 4, "crf 45")
    deep = replace(shallow, sampling=Sampling(5, 10), networks=("lpips_vgg", "dists"))
    first = run_job(job, shallow)[0][0]
    assert is_done(job, shallow)
    assert not is_done(job, deep)
    monkeypatch.setattr(Judge, "measure", refuse)
    point = run_job(job, deep)[0][0]
    assert (point.quality.lpips_vgg, point.quality.dists) == (0.5, 0.5)
    assert point.deep_key
    assert without_deep(point) == first
    monkeypatch.setattr(anchors, "decode", refuse)
    assert run_job(job, deep)[0] == [point]
    assert run_job(job, shallow)[0] == [first]
    assert not is_done(job, replace(deep, sampling=Sampling(5, 20)))
    with monkeypatch.context() as older:
        older.setattr(jobs_module, "DEEP_RULE", 1)
        assert not is_done(job, deep)
        assert is_done(job, shallow)
    for path in (tmp_path / "deep").iterdir():
        path.write_text("{}")
    assert not is_done(job, deep)


def test_what_cannot_be_measured_is_named_and_the_rest_goes_on(sample, settings, ffmpeg, monkeypatch):
    monkeypatch.setattr(sweep.anchors, "check_anchor", fail_for_vp9)
    absent = replace(sample, name="gone", path=SAMPLES / "gone.mp4")
    empty = replace(sample, name="clouds", path=SAMPLES / "no_face.mp4", first=0)
    results = sweep.run([absent, sample, empty], settings)
    assert {p.codec for p in results.points} == {"x264"}
    left_out = {(item.clip, item.codec): item.reason for item in results.left_out}
    assert "no such file" in left_out["gone", ""]
    assert "no face" in left_out["clouds", ""]
    assert "libvpx" in left_out["", "vp9"]
    with pytest.raises(MediaError, match="nothing could be measured.*gone"):
        sweep.run([absent], settings)


def fail_for_vp9(anchor):
    if anchor.name == "vp9":
        raise ConfigError("codec", "vp9", "encoders of this build, which has no libvpx-vp9")


def test_a_point_that_fails_does_not_end_the_run(clip, ffmpeg, tmp_path, monkeypatch):
    def fail(*args):
        raise MediaError("x264", "failed with code 1: out of luck")

    monkeypatch.setattr(anchors, "encode", fail)
    made, left_out = run_job(Job(clip, "x264", ("x264",), 1, "crf 45"), Measuring(tmp_path, Sampling(), ()))
    assert not made
    assert [(item.clip, item.codec) for item in left_out] == [("head", "x264")]
    assert "crf 45: x264: failed with code 1: out of luck" in left_out[0].reason


def test_one_stream_of_this_codec_gives_all_of_its_curves(clip, tmp_path, monkeypatch):
    how = Measuring(tmp_path, Sampling(5, 0), ())
    label = next(iter(own.SETTINGS))
    made, left_out = run_job(Job(clip, own.OWN, (own.WARP, own.STILL), 1, label), how)
    assert not left_out
    warp, still = made
    stream = next((tmp_path / "streams").glob("*.fcv"))
    facecodec.encode_file(
        clip.path, tmp_path / "x.fcv", own.encoder_config(label, 256), SpeedConfig(threads=1)
    )
    assert stream.read_bytes() == (tmp_path / "x.fcv").read_bytes()
    assert warp.size_bytes == stream.stat().st_size
    assert warp.parts.face > 0
    assert still.parts.reference == warp.parts.reference
    assert still.size_bytes < warp.size_bytes
    assert still.parts.face == still.parts.palette == 0
    assert warp.version.endswith("warp-0")
    assert {"encode track", "decode generator"} <= {name for name, _ in warp.cost.stages_ms}
    assert 100 < warp.cost.peak_mib < 8000
    monkeypatch.setattr(own, "encode", refuse)
    monkeypatch.setattr(own, "decode", refuse)
    again = run_job(Job(clip, own.OWN, (own.WARP, own.STILL), 1, label), how)[0]
    assert [(p.key, p.quality) for p in again] == [(p.key, p.quality) for p in made]


def test_failures_of_the_coding_process_carry_its_message(clip, tmp_path):
    (tmp_path / "x.fcv").write_bytes(b"no stream")
    with pytest.raises(MediaError, match="facecodec: failed with code 1: .*"):
        own.decode(tmp_path / "x.fcv", own.WARP)


def test_settings_of_the_sweep_are_settings_of_the_encoder():
    assert len(own.SETTINGS) >= 4
    for label in own.SETTINGS:
        config = own.encoder_config(label, 256)
        assert isinstance(config, EncoderConfig)
        assert config.audio_bps == 0
        assert "--audio none" in own.command_line(label, 256, own.OWN)


def test_plans_take_fewer_points_with_the_floor_among_them(clip):
    jobs = plan([clip], (*own.CURVES, "x264"), 3, (1, 4))
    ours = [job for job in jobs if job.codec == own.OWN]
    assert [job.setting for job in ours] == [list(own.SETTINGS)[i] for i in (0, 1, 3)]
    assert ours[0].curves == own.CURVES
    for scale in (1, 4):
        settings = [job.setting for job in jobs if (job.codec, job.scale) == ("x264", scale)]
        assert len(settings) == 4
        assert settings[-2:] == ["crf 51", "qp 51"]
    assert [job.setting for job in plan([clip], ("vp9",), 2, (1,))] == ["crf 35", "crf 63"]


@pytest.mark.parametrize("name", anchors.ANCHORS)
def test_versions_of_the_encoders_libraries_are_told(name, ffmpeg, clip):
    told = jobs_module.version_of(Job(clip, name, (name,), 1, ""), name)
    encoder = anchors.ANCHORS[name].encoder
    assert re.fullmatch(rf"{encoder} (core )?v?\d+(\.\d+)*\S* in FFmpeg \S+", told)


def test_points_that_are_kept_tell_their_versions_as_new_ones_do(clip, ffmpeg, tmp_path, monkeypatch):
    job, how = Job(clip, "x264", ("x264",), 4, "crf 51"), Measuring(tmp_path, Sampling(5, 0), ())
    with monkeypatch.context() as older:
        older.setattr(jobs_module, "library_version", lambda tool, encoder: "")
        first = run_job(job, how)[0][0]
    assert first.version.startswith("libx264 in FFmpeg")
    second = run_job(job, how)[0][0]
    assert second.version.startswith("libx264 core")
    assert replace(second, version=first.version) == first


def test_an_encoder_that_does_not_tell_its_version_does_without(tmp_path):
    tool = tmp_path / "ffmpeg"
    tool.write_text("#!/bin/sh\necho nothing\n")
    tool.chmod(0o755)
    assert library_version(tool, "libx264") == library_version(tool, "libtheora") == ""
    assert library_version(tmp_path / "absent", "libx264") == ""


def test_keys_of_streams_follow_the_command_alone(clip, ffmpeg, monkeypatch):
    """What is stored in bench/results was kept under these keys."""
    monkeypatch.setattr(jobs_module, "ffmpeg_version", lambda tool: "n9.0.2-17-g2a571b6068-20260930")
    job = Job(replace(clip, digest="d", size=256, rate="30"), "x265-ld", ("x265-ld",), 2, "crf 51")
    assert jobs_module.stream_key(job) == "6e8e4e2ab5f2ab45"
    command = jobs_module.anchor_command(replace(job, setting="qp 51"))
    assert command[command.index("-x265-params") + 1].endswith(":log-level=error:qp=51")
    assert "-crf" not in command


def test_every_codec_is_compared_unless_somebody_chooses():
    assert set(sweep.CODECS) == set(sweep.KNOWN) == {*own.CURVES, *anchors.ANCHORS}
    assert set(sweep.QUICK_CODECS) < set(sweep.CODECS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codecs": ("x264", "h120")}, "h120"),
        ({"codecs": ()}, "at least one"),
        ({"sampling": Sampling(0, 0)}, "sampling"),
    ],
)
def test_settings_are_checked(settings, change, message):
    with pytest.raises(ConfigError, match=message):
        replace(settings, **change)


def test_points_depend_on_what_they_are_made_of(clip, ffmpeg, tmp_path):
    how = Measuring(tmp_path, Sampling(5, 0), ())
    job = Job(clip, "x264", ("x264",), 1, "crf 45")
    keys = [
        point_key(job, "x264", how),
        point_key(replace(job, setting="crf 46"), "x264", how),
        point_key(replace(job, scale=2), "x264", how),
        point_key(replace(job, clip=replace(clip, digest="0")), "x264", how),
        point_key(job, "x264", replace(how, sampling=Sampling(4, 0))),
        point_key(job, "x264", replace(how, networks=("lpips",))),
    ]
    assert len(set(keys)) == len(keys)
    assert point_key(replace(job, clip=replace(clip, name="b")), "x264", how) == keys[0]


def test_local_processes_do_the_work_and_pass_errors_on():
    done = LocalProcesses(1).map(square, [2, -1])
    assert next(done) == (2, 4)
    with pytest.raises(ValueError, match="negative"):
        next(done)


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_measures_what_this_process_does(clip, ffmpeg, tmp_path, cluster):
    jobs = plan([clip], ("x264",), 2, (4,))
    here, there = (Measuring(tmp_path / name, Sampling(5, 0), ()) for name in ("here", "there"))
    wanted = {job: run_job(job, here)[0][0].quality.psnr for job in jobs}
    workers = DaskWorkers(cluster.scheduler_address)
    try:
        found = dict(workers.map(partial(run_job, how=there), jobs))
        assert {job: made[0].quality.psnr for job, (made, _) in found.items()} == wanted
        assert all(is_done(job, there) for job in jobs)
        with pytest.raises(TransportError, match="negative"):
            list(workers.map(square, [-1]))
    finally:
        workers.close()


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("distributed", reason="the extra [bench] is not installed")
    monkeypatch.setattr("facecodec.benchmark.workers._CONNECT_S", 1)
    with pytest.raises(ConfigError, match="Dask scheduler"):
        DaskWorkers("tcp://127.0.0.1:9")


def test_streams_of_the_cache_say_their_sizes(clip, ffmpeg, tmp_path):
    how = Measuring(tmp_path, Sampling(5, 0), ())
    point = run_job(Job(clip, "vp9", ("vp9",), 4, "crf 63"), how)[0][0]
    told = json.loads(next((tmp_path / "streams").glob("*.json")).read_text())
    assert sum(told["sizes"]) == point.size_bytes
    assert np.isclose(told["sizes"][0] / point.size_bytes, point.still_share)
