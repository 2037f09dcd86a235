"""Choice of a generator, and the driving of generators over a stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from facecodec.errors import ConfigError, MissingReferenceError, WeightsError, WeightsMismatchError
from facecodec.generator.palette import RegionPatch
from facecodec.generator.patches import PatchRegion
from facecodec.generator.render import StreamRenderer
from facecodec.generator.select import WARP, LoadedGenerator, WarpRenderer, load_generator, pick_device
from facecodec.weights import registry
from facecodec.weights.store import load_weights, save_weights

CPU = torch.device("cpu")
FITTED = b"fittedto"


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """An empty folder of weights in place of the package's own."""
    monkeypatch.setattr(registry, "DATA", tmp_path)
    monkeypatch.delenv(registry.ENVIRONMENT, raising=False)
    return tmp_path


def install(folder: Path, toy: Path, label: str) -> bytes:
    """Put the toy weights into a folder under a label; their model id."""
    return registry.file_id(save_weights(folder, load_weights(toy).tensors, "toy", label=label))


def test_without_weights_auto_is_warp_0_and_a_profile_says_what_is_missing(installed):
    loaded = load_generator("auto", CPU)
    assert (loaded.name, loaded.model_id, loaded.size_multiple) == ("warp-0", b"warp-0\0\0", 1)
    for name in ("lite", "base"):
        with pytest.raises(WeightsError, match=f"{name}.*{installed}"):
            load_generator(name, CPU)


def test_a_file_names_its_generator_by_profile_and_id(installed, toy_weights):
    for stream in (WARP, registry.file_id(toy_weights)):
        loaded = load_generator("auto", CPU, toy_weights, stream=stream)
        assert loaded.name == f"toy-{registry.file_id(toy_weights).hex()}"
        assert loaded.model_id == registry.file_id(toy_weights)
    assert load_generator("toy", CPU, toy_weights, stream=FITTED).name == loaded.name


def test_auto_takes_what_the_stream_names_and_else_the_profile_of_the_device(installed, toy_weights):
    def chosen(stream: bytes, device: torch.device = CPU) -> bytes:
        return load_generator("auto", device, stream=stream).model_id

    anna = install(installed, toy_weights, "toy-anna")
    assert chosen(WARP) == WARP
    assert chosen(anna) == anna
    save_weights(installed, load_weights(toy_weights).tensors, "toy", label="base", sequential=False)
    assert chosen(WARP) == WARP, "base is too slow for a CPU to be taken unasked"
    lite = registry.file_id(
        save_weights(installed, load_weights(toy_weights).tensors, "toy", label="lite", parent=anna)
    )
    assert chosen(WARP) == lite
    assert chosen(anna) == anna


def test_a_stream_for_a_model_that_is_not_here_is_refused_unless_another_is_asked_for(installed, toy_weights):
    with pytest.raises(WeightsMismatchError, match=FITTED.hex()) as caught:
        load_generator("auto", CPU, stream=FITTED)
    assert caught.value.local_ids == ("warp-0",)
    with pytest.raises(WeightsMismatchError, match=toy_weights.name):
        load_generator("auto", CPU, toy_weights, stream=FITTED)
    assert load_generator("warp-0", CPU, stream=FITTED).model_id == WARP
    assert load_generator("toy", CPU, toy_weights, stream=FITTED).model_id == registry.file_id(toy_weights)


def test_weights_that_do_not_fit_are_refused(installed, toy_weights):
    with pytest.raises(WeightsError, match=f"{toy_weights.name}.*profile toy, expected lite"):
        load_generator("lite", CPU, toy_weights)
    with pytest.raises(ConfigError, match="weights"):
        load_generator("warp-0", CPU, toy_weights)
    tensors = dict(load_weights(toy_weights).tensors)
    odd = save_weights(installed, tensors, "huge")
    with pytest.raises(WeightsError, match=f"{odd.name}.*profile huge"):
        load_generator("auto", CPU, odd)
    wrong = save_weights(installed, tensors, "lite")
    with pytest.raises(WeightsError, match=f"{wrong.name}.*is missing"):
        load_generator("lite", CPU)


def test_unknown_names_and_absent_devices_are_refused():
    with pytest.raises(ConfigError, match="generator is 'gan'"):
        load_generator("gan", CPU)
    assert pick_device("cpu") == CPU
    if not torch.cuda.is_available():
        assert pick_device("auto") == CPU
        with pytest.raises(ConfigError, match="device"):
            pick_device("cuda")


class CountingState:
    def __init__(self) -> None:
        self.frames = 0

    def reset(self) -> None:
        self.frames = 0


class Counting:
    """Every frame is as bright as the references together, plus the number of frames since the last reset."""

    sequential = True

    def prepare(self, picture: Tensor, mesh: Tensor, q_idx: int) -> Tensor:
        return picture

    def new_state(self) -> CountingState:
        return CountingState()

    def render(
        self,
        references: Sequence[Tensor],
        mesh: Tensor,
        scene: Tensor | None,
        state: CountingState,
        patches: Tensor | None = None,
    ) -> Tensor:
        out = []
        for _ in mesh:
            state.frames += 1
            out.append(sum(references) + state.frames / 255)
        return torch.stack(out)


@pytest.fixture
def counting() -> StreamRenderer:
    renderer = StreamRenderer(LoadedGenerator("counting", b"counting", Counting(), 1), CPU, 3)
    for slot in range(3):
        renderer.put(slot, np.full((64, 64, 3), 50 * slot, np.uint8), np.zeros((478, 3)))
    return renderer


def shown(renderer: StreamRenderer, slot: int, count: int, others: Sequence[int] = ()) -> list[int]:
    pictures = renderer.render(slot, np.zeros((count, 478, 3)), None, others)
    assert pictures.shape == (count, 64, 64, 3)
    return [int(picture.mean()) for picture in pictures]


def test_frames_of_a_sequential_generator_follow_each_other_over_calls(counting):
    assert shown(counting, 0, 5) == [1, 2, 3, 4, 5]
    assert shown(counting, 0, 2) == [6, 7]


def test_nothing_is_left_of_earlier_frames_after_a_reset_another_slot_or_another_picture(counting):
    assert shown(counting, 0, 3) == [1, 2, 3]
    counting.reset()
    assert shown(counting, 0, 1) == [1]
    assert shown(counting, 1, 2) == [51, 52]
    assert shown(counting, 0, 1) == [1]
    counting.put(1, np.zeros((64, 64, 3), np.uint8), np.zeros((478, 3)))
    assert shown(counting, 0, 1) == [2], "another slot's picture changes nothing"
    counting.put(0, np.full((64, 64, 3), 9, np.uint8), np.zeros((478, 3)))
    assert shown(counting, 0, 1) == [10]


def test_several_reference_pictures_and_missing_ones(counting):
    assert shown(counting, 1, 1, [2]) == [151]
    counting.drop(2)
    for slots in ((2, []), (0, [2])):
        with pytest.raises(MissingReferenceError):
            counting.render(slots[0], np.zeros((1, 478, 3)), None, slots[1])
    counting.drop(1)
    with pytest.raises(MissingReferenceError):
        counting.render(1, np.zeros((1, 478, 3)), None)


@pytest.fixture
def photo(picture) -> np.ndarray:
    """A picture [128, 128, 3] uint8."""
    return (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def run(
    loaded: LoadedGenerator, photo: np.ndarray, meshes: np.ndarray, cuts: Sequence[int] = ()
) -> np.ndarray:
    renderer = StreamRenderer(loaded, CPU, 2)
    renderer.put(0, photo, meshes[0])
    return np.concatenate([renderer.render(0, part, None) for part in np.split(meshes, cuts)])


@pytest.fixture
def meshes(face) -> np.ndarray:
    return np.stack([face(yaw=0.05 * i, x=0.01 * i).numpy() for i in range(6)]).astype(np.float64)


def test_the_toy_generator_is_the_same_every_time_and_however_frames_are_cut(toy_weights, photo, meshes):
    loaded = load_generator("auto", CPU, toy_weights)
    assert loaded.model.sequential
    whole = run(loaded, photo, meshes)
    assert whole.std() > 5
    np.testing.assert_array_equal(whole, run(load_generator("auto", CPU, toy_weights), photo, meshes))
    pieces = run(loaded, photo, meshes, cuts=[1, 4]).astype(int)
    assert np.abs(pieces - whole).max() <= 1, "cut elsewhere, sums of floats are made in another order"
    alone = np.concatenate([run(loaded, photo, meshes[[0, i]])[1:] for i in range(2, 6)])
    assert np.abs(alone.astype(int) - whole[2:]).mean() > 0.05, "the last output must be seen"


def test_pictures_used_long_ago_are_made_ready_again(photo, meshes):
    renderer = StreamRenderer(load_generator("warp-0", CPU), CPU, 1)
    patch = RegionPatch(PatchRegion.MOUTH, photo[60:92, 32:96].copy(), (32, 60, 64, 32), meshes[3])
    weights, first = np.ones((1, 1)), {}
    for slot in range(6):
        renderer.put(slot, np.roll(photo, slot, 1), meshes[0])
        renderer.put_palette(slot, [patch])
        first[slot] = renderer.render(slot, meshes[1:2], None, weights=weights)
    ready = [slot for slot in range(6) if renderer._slots[slot].prepared is not None]
    assert ready == [3, 4, 5]
    assert [slot for slot in range(6) if renderer._slots[slot].sources is not None] == ready
    for slot in (0, 4, 1):
        np.testing.assert_array_equal(renderer.render(slot, meshes[1:2], None, weights=weights), first[slot])
    assert np.abs(first[0].astype(int) - renderer.render(0, meshes[1:2], None)).max() > 5, "a palette is seen"
    assert sum(renderer._slots[slot].prepared is not None for slot in range(6)) == 3


def test_frame_by_frame_weights_do_not_see_the_last_output(toy_weights, photo, meshes, tmp_path):
    path = save_weights(tmp_path, load_weights(toy_weights).tensors, "toy", sequential=False)
    loaded = load_generator("auto", CPU, path)
    assert not loaded.model.sequential
    whole = run(loaded, photo, meshes)
    backwards = run(loaded, photo, meshes[[0, 5, 4, 3, 2, 1]])
    assert np.abs(backwards[1:][::-1].astype(int) - whole[1:]).max() <= 1


def test_sizes_that_the_networks_cannot_take_are_shown_all_the_same(toy_weights, photo, meshes):
    loaded = load_generator("auto", CPU, toy_weights)
    odd = run(loaded, photo[:118, :118], meshes)
    assert odd.shape == (6, 118, 118, 3)
    enlarged = torch.from_numpy(photo[:118, :118].copy()).permute(2, 0, 1)[None].float() / 255
    fitting = torch.nn.functional.interpolate(enlarged, (128, 128), mode="bicubic", antialias=True).clamp(
        0, 1
    )
    whole = run(loaded, (fitting[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy(), meshes)
    assert abs(odd.astype(float).mean() - whole.astype(float).mean()) < 1


def test_warp_0_in_a_renderer_is_the_warp_generator(photo, picture, meshes):
    loaded = LoadedGenerator("warp-0", WARP, WarpRenderer(CPU), 1)
    made = run(loaded, photo, meshes)
    model = loaded.model
    tensors = torch.from_numpy(meshes.astype(np.float32))
    prepared = model.prepare(torch.from_numpy(photo).permute(2, 0, 1).float() / 255, tensors[0])
    direct = model.render([prepared], tensors, None, model.new_state())
    difference = made - 255 * direct.permute(0, 2, 3, 1).numpy()
    assert np.abs(difference).max() <= 1
    assert np.abs(made[0].astype(int) - photo).max() <= 2


def test_a_cuda_renderer_agrees_with_the_cpu(cuda, toy_weights, photo, meshes):
    on_cpu = run(load_generator("auto", CPU, toy_weights), photo, meshes)
    renderer = StreamRenderer(load_generator("auto", cuda, toy_weights), cuda)
    renderer.put(0, photo, meshes[0])
    assert np.abs(renderer.render(0, meshes, None).astype(int) - on_cpu).mean() < 1
