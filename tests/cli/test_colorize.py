"""`gradatim colorize`: folders of frames and video files; what is wrong is said before work starts."""

import numpy as np
import pytest

from commandline import gradatim, worked
from gradatim.data.image import image_size, read_image, write_image
from gradatim.data.video import read_frames, video_facts, write_video
from gradatim.systems.flowchroma import predict
from pictures import picture, save
from tiny_flowchroma import model_file, scene, scene_folder

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, two scenes in color and one in gray, and a reference; not to be changed."""
    folder = tmp_path_factory.mktemp("colorize")
    model_file(folder / "model.safetensors")
    scene_folder(folder / "scenes/a", 3)
    scene_folder(folder / "scenes/b", 2, suffix=".jpg", size=(30, 44))
    scene_folder(folder / "gray", 2, gray=True)
    save(folder / "still.png", scene(1)[0])
    return folder


@pytest.fixture
def place(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


MODEL = "model.safetensors"


def flat(text):
    return " ".join(text.replace("│", " ").split())


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_folders_of_frames_are_colored_after_their_first_frame(place, tmp_path):
    told = worked("colorize", MODEL, "scenes", "-o", tmp_path / "out")

    assert names(tmp_path / "out") == ["a/f0.png", "a/f1.png", "a/f2.png", "b/f0.png", "b/f1.png"]
    assert told.out == f"2 of 2 videos, 5 frames, written to {tmp_path / 'out'}\n"
    assert image_size(tmp_path / "out/a/f1.png") == (36, 50)
    assert image_size(tmp_path / "out/b/f1.png") == (30, 44)
    model = predict.Colorizer(*loaded())
    expected = list(model.color(scene(3)))
    assert all(np.array_equal(read_image(tmp_path / f"out/a/f{n}.png"), expected[n]) for n in range(3))


def test_frames_are_taken_in_the_order_of_their_numbers(place, tmp_path):
    folder = tmp_path / "in"
    for number, frame in zip((2, 10), scene(2), strict=True):
        save(folder / f"f{number}.bmp", frame)

    worked("colorize", MODEL, folder, "-o", tmp_path / "out")

    expected = list(predict.Colorizer(*loaded()).color(scene(2)))
    assert np.array_equal(read_image(tmp_path / "out/in/f10.bmp"), expected[1])


def test_a_reference_serves_all_and_is_seen_once(place, tmp_path, monkeypatch):
    seen = []
    encode = predict.Colorizer.encode
    monkeypatch.setattr(predict.Colorizer, "encode", lambda self, one: seen.append(one) or encode(self, one))

    answer = worked(
        "colorize", MODEL, "gray", "scenes", "--reference", "still.png", "-o", tmp_path / "out", "--json"
    )  # fmt: skip

    assert len(seen) == 1
    assert [(one["video"], one["frames"]) for one in answer.json["videos"]] == [
        ("gray", 2), ("scenes/a", 3), ("scenes/b", 2),
    ]  # fmt: skip
    assert answer.json["videos"][0]["written"] == str(tmp_path / "out/gray")
    assert answer.json["failed"] == {}
    assert predict.has_colors(read_image(tmp_path / "out/gray/f1.png"))


def test_saturation_and_matching_alone_change_the_result(place, tmp_path):
    def first(name, *words):
        worked("colorize", MODEL, "gray", "--reference", "still.png", "-o", tmp_path / name, *words)
        return read_image(tmp_path / name / "gray/f1.png").astype(int)

    usual, strong, alone = first("usual"), first("strong", "--saturation", 3), first("alone", "--matched")

    assert np.abs(usual - strong).max() > 2
    assert np.abs(usual - alone).max() > 2


def test_a_video_file_keeps_its_rate_and_size_and_loses_its_sound(place, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "film.mkv"), "w") as container:
        video, sound = container.add_stream("mpeg4", rate=12), container.add_stream("aac", rate=16000)
        video.height, video.width, video.pix_fmt = 48, 66, "yuv420p"
        for frame in scene(5, size=(48, 66)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.float32), format="fltp", layout="mono")
        noise.sample_rate = 16000
        container.mux(sound.encode(noise))
        for stream in (video, sound):
            container.mux(stream.encode(None))
    write_video(tmp_path / "still.avi", np.stack(scene(2, size=(48, 66))), 10)

    answer = worked("colorize", MODEL, tmp_path / "film.mkv", tmp_path / "still.avi", "-o", tmp_path / "out")

    facts = video_facts(tmp_path / "out/film.mkv")
    assert (facts.frames, facts.fps, facts.size) == (5, 12.0, (48, 66))
    assert answer.err == f"sound is left out: {tmp_path / 'film.mkv'}\n"
    assert names(tmp_path / "out") == ["film.mkv", "still.avi"]
    expected = list(predict.Colorizer(*loaded()).color(read_frames(tmp_path / "film.mkv")))
    shown = list(read_frames(tmp_path / "out/film.mkv"))
    # The codec blurs colors; of lightness and place it keeps nearly all.
    assert max(np.abs(one.mean(axis=2) - two.mean(axis=2)).mean() for one, two in zip(shown, expected, strict=True)) < 8


def test_a_video_that_fails_does_not_lose_the_others(place, tmp_path):
    pytest.importorskip("av")
    write_video(tmp_path / "in/a.mp4", scene(30), 10)
    write_video(tmp_path / "in/b.mp4", scene(3), 10)
    content = (tmp_path / "in/a.mp4").read_bytes()
    third = len(content) // 3
    (tmp_path / "in/a.mp4").write_bytes(content[:third] + bytes(third) + content[2 * third :])

    answer = gradatim("colorize", MODEL, tmp_path / "in", "-o", tmp_path / "out", "--json")

    assert answer.code == 1
    assert list(answer.json["failed"]) == [str(tmp_path / "in/a.mp4")]
    assert answer.err.startswith(f"{tmp_path / 'in/a.mp4'}: damaged")
    assert [one["video"] for one in answer.json["videos"]] == [str(tmp_path / "in/b.mp4")]
    assert names(tmp_path / "out") == ["b.mp4"]


def test_results_of_an_earlier_call_inside_an_input_are_not_colored_again(place, tmp_path):
    scene_folder(tmp_path / "scenes/a", 2)
    for _ in range(2):
        told = worked("colorize", MODEL, tmp_path / "scenes", "-o", tmp_path / "scenes/out", "--json").json
        assert [one["frames"] for one in told["videos"]] == [2]


def test_all_that_is_wrong_is_one_message_before_work(place, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/f0.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    scene_folder(tmp_path / "twice", 1)
    save(tmp_path / "twice/f0.jpg", picture())
    scene_folder(tmp_path / "other/a", 1)

    inputs = [
        "gone", "still.png", MODEL, "gray", "scenes", *(tmp_path / x for x in ("bad", "empty", "twice", "other/a")),
    ]  # fmt: skip
    answer = gradatim("colorize", MODEL, *inputs, "-o", tmp_path / "out")

    assert answer.code == 1
    for words in (
        "error: 8 problem(s)", "gone: no such file or folder", "still.png: a picture; name the folder of all frames",
        "model.safetensors: not a video", "gray/f0.png: the first frame is gray", "f0.png: not an image",
        "empty: no frames", "several frames of", "would hold the results of scenes/a and of ",
    ):  # fmt: skip
        assert words in answer.err, words
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([MODEL, "gray", "--reference", "gray/f0.png", "-o", "OUT"], 1, "gray/f0.png: a gray picture has no colors"),
        ([MODEL, "gray", "--reference", "gone.png", "-o", "OUT"], 1, "gone.png: No such file"),
        ([MODEL, "scenes", "-o", "scenes"], 1, "scenes: the inputs lie there"),
        ([MODEL, "scenes/a", "-o", "scenes"], 1, "scenes/a: is an input"),
        ([MODEL, "scenes", "-o", "still.png"], 1, "still.png: is a file; results need a folder"),
        ([MODEL, "scenes", "-o", "TAKEN"], 1, "a: is a file, and stands in the way"),
        ([MODEL, "scenes", "--saturation", "2", "-o", "OUT"], 2, "changes a picture that --reference names"),
        (["LACKING", "scenes", "-o", "OUT"], 1, "(it has swin, warpnet): memflow fusion"),
        (["gone", "scenes", "-o", "OUT"], 1, "gone: no such file"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said(words, code, says, place, tmp_path):
    write_image(tmp_path / "taken/b.png", picture())
    (tmp_path / "taken/a").write_text("")
    model_file(tmp_path / "lacking", ("swin", "warpnet"))
    places = {"OUT": tmp_path / "out", "TAKEN": tmp_path / "taken", "LACKING": tmp_path / "lacking"}

    answer = gradatim("colorize", *(places.get(word, word) for word in words))

    assert (answer.code, answer.out) == (code, "")
    assert says in flat(answer.err)
    assert "Traceback" not in answer.err
    assert not (tmp_path / "out").exists()


def loaded():
    from gradatim import load_model

    model = load_model(MODEL)
    return model.parts, model.settings
