"""Reading, counting and writing video files."""

import builtins

import numpy as np
import pytest

from clips import numbered_clip, numbers_of, write_numbered
from gradatim.data.image import write_image
from gradatim.data.video import (
    frame_count,
    frame_indices,
    read_clip,
    read_frames,
    verify_video,
    video_facts,
    write_video,
)
from gradatim.errors import DataError, MissingExtraError

av = pytest.importorskip("av")

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm")


def message(call, *args) -> str:
    with pytest.raises(DataError) as error:
        call(*args)
    return str(error.value)


def header_count(path) -> int:
    with av.open(str(path)) as container:
        return container.streams.video[0].frames


def write_sound(path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_clip_comes_back_frame_by_frame_with_its_facts(tmp_path, suffix):
    path = write_numbered(tmp_path / f"clip{suffix}", 20)

    clip = read_clip(path, range(20))

    assert clip.shape == (20, 32, 48, 3)
    assert clip.dtype == np.uint8
    assert numbers_of(clip) == list(range(20))
    assert np.abs(clip[:, 10:].astype(int) - numbered_clip(20)[:, 10:]).mean() < 3
    facts = verify_video(path)
    assert (facts.frames, facts.fps, facts.size, facts.duration) == (20, 10, (32, 48), 2)
    assert facts == video_facts(path)
    assert frame_count(path) == 20


@pytest.mark.parametrize("suffix", [".webm", ".mkv"])
def test_frames_are_counted_where_the_header_has_no_number(tmp_path, suffix):
    path = write_numbered(tmp_path / f"clip{suffix}", 23)
    assert header_count(path) == 0
    assert frame_count(path) == 23


def test_pictures_of_vp8_that_are_never_shown_are_not_counted(tmp_path):
    path = tmp_path / "alt.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.options = {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "20000", "deadline": "good"}
        noise = np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3), np.uint8)
        for picture in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        packets = sum(1 for packet in container.demux(video=0) if packet.size)
    assert packets >= 40
    assert frame_count(path) == 40
    assert len(read_clip(path, range(40))) == 40


def test_frames_are_spread_evenly_and_there_are_always_as_many_as_asked_for():
    assert frame_indices(79, 16).tolist() == [0, 5, 10, 15, 20, 26, 31, 36, 41, 46, 52, 57, 62, 67, 72, 78]
    assert frame_indices(3, 8).tolist() == [0, 0, 0, 0, 1, 1, 1, 2]
    assert frame_indices(10, 1).tolist() == [0]
    assert frame_indices(5, 3, start=100).tolist() == [100, 102, 104]
    assert message(frame_indices, 0, 4) == "4 frames of a clip of 0: both numbers must be at least 1."


def test_a_short_clip_repeats_its_frames_and_any_order_may_be_asked_for(tmp_path):
    path = write_numbered(tmp_path / "short.mp4", 5)
    assert numbers_of(read_clip(path, frame_indices(5, 8))) == [0, 0, 1, 1, 2, 2, 3, 4]
    assert numbers_of(read_clip(path, [4, 0, 4, 2])) == [4, 0, 4, 2]


def test_frames_just_behind_the_end_are_the_last_one_and_further_ones_an_error(tmp_path):
    path = write_numbered(tmp_path / "clip.mp4", 6)
    assert numbers_of(read_clip(path, [0, 5, 6, 7])) == [0, 5, 5, 5]
    assert message(read_clip, path, [0, 8]) == (
        f"{path}: ends after 6 frames, frame 8 was expected: damaged or truncated."
    )
    assert "not a clip" in message(read_clip, path, [])
    assert "not a clip" in message(read_clip, path, [-1])


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_odd_sizes_are_kept(tmp_path, suffix):
    path = write_numbered(tmp_path / f"odd{suffix}", 4, size=(33, 47))
    assert read_clip(path, [0, 3]).shape == (2, 33, 47, 3)


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3), (-90, 3)])
def test_a_turned_video_comes_upright(tmp_path, degrees, turns):
    upright = np.zeros((3, 32, 48, 3), np.uint8)
    upright[:, :16, :16] = (255, 0, 0)
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.set_display_rotation(degrees)
        for picture in upright:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation % 360 == degrees % 360

    clip = read_clip(path, [0, 2])

    expected = np.rot90(upright[0], turns)
    assert clip.shape[1:] == expected.shape
    assert np.abs(clip[0].astype(int) - expected).mean() < 8
    assert video_facts(path).size == expected.shape[:2]


def test_a_folder_of_pictures_behaves_like_a_clip(tmp_path):
    clip = numbered_clip(12)
    for number, picture in enumerate(clip):
        write_image(tmp_path / "frames" / f"{number:03d}.png", picture)
    (tmp_path / "frames" / "notes.txt").write_text("no frame")

    assert frame_count(tmp_path / "frames") == 12
    np.testing.assert_array_equal(read_clip(tmp_path / "frames", [3, 0, 3]), clip[[3, 0, 3]])
    assert verify_video(tmp_path / "frames").size == (32, 48)
    assert "holds 12 pictures" in message(read_clip, tmp_path / "frames", [12])
    (tmp_path / "none").mkdir()
    assert "folder without pictures" in message(frame_count, tmp_path / "none")


def test_a_folder_of_unequal_pictures_is_an_error(tmp_path):
    for number, size in enumerate(((8, 8), (8, 9))):
        write_image(tmp_path / f"{number}.png", np.zeros((*size, 3), np.uint8))
    assert message(read_clip, tmp_path, [0, 1]) == f"{tmp_path}: its frames have 2 sizes (8 x 8, 8 x 9)."


def test_files_that_are_no_videos_are_named_with_the_cause(tmp_path, capfd):
    missing, empty, text, sound, folder = (tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4"))
    empty.touch()
    text.write_text("no video" * 100)
    write_sound(sound)
    folder.mkdir()
    expected = {
        missing: f"{missing}: no such file.",
        empty: f"{empty}: the file is empty (0 bytes).",
        text: f"{text}: not a video that can be read, or a damaged one (Invalid data found when processing input).",
        sound: f"{sound}: has no pictures, only audio.",
        folder: f"{folder}: a folder without pictures is no clip.",
    }
    for path, words in expected.items():
        for call in (frame_count, video_facts, verify_video, lambda path: read_clip(path, [0])):
            assert message(call, path) == words


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_file_is_an_error_and_never_a_shorter_clip(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3), np.uint8)
    path = tmp_path / f"clip{suffix}"
    write_video(path, noise, 10)
    whole = path.read_bytes()
    total = frame_count(path)
    for share in (0.02, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        assert str(path) in message(read_clip, path, frame_indices(total, 16))


@pytest.mark.parametrize("suffix", [".webm", ".mkv"])
def test_a_truncated_file_without_a_count_is_found_by_its_duration(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    write_video(path, np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3), np.uint8), 10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = message(frame_count, path)
    assert "truncated: ends after" in found
    assert found.endswith("of 4.0 s.")


def test_bytes_that_were_overwritten_raise_no_foreign_error(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 32, 48, 3), np.uint8)
    path = tmp_path / "clip.mp4"
    write_video(path, noise, 10)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    causes = []
    for _ in range(40):
        damaged = np.frombuffer(whole, np.uint8).copy()
        at = random.integers(0, len(whole) - 64)
        damaged[at : at + 64] = random.integers(0, 256, 64)
        path.write_bytes(damaged.tobytes())
        try:
            read_clip(path, range(20))
            verify_video(path)
        except DataError as error:
            causes.append(str(error))
    assert causes
    assert all(str(path) in cause for cause in causes)


def test_what_cannot_be_written_leaves_no_file(tmp_path):
    assert "cannot write '.gif' videos" in message(write_video, tmp_path / "a.gif", numbered_clip(2), 10)
    assert "no frame to write" in message(write_video, tmp_path / "a.mp4", numbered_clip(0), 10)
    sizes = [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)]
    assert "the first one is" in message(write_video, tmp_path / "a.mp4", sizes, 10)
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_the_line_to_install_it_is_told(tmp_path, monkeypatch):
    path = write_numbered(tmp_path / "clip.mp4", 3)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "av":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'gradatim\[video\]'"):
        read_clip(path, [0])


def test_opencv_reads_what_pyav_cannot_open(tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    path = write_numbered(tmp_path / "clip.avi", 6)

    def refuse(*args, **kwargs):
        raise av.error.InvalidDataError(1, "refused", "clip.avi")

    monkeypatch.setattr(av, "open", refuse)
    assert numbers_of(read_clip(path, [0, 5, 2, 6])) == [0, 5, 2, 5]
    assert "ends after 6 frames" in message(read_clip, path, [9])


def test_real_videos_with_sound_are_read(data_root):
    files = sorted(path for path in (data_root / "video").iterdir() if path.suffix in (".mp4", ".avi"))
    assert files
    for path in files:
        facts = verify_video(path)
        clip = read_clip(path, frame_indices(facts.frames, 16))
        assert clip.shape == (16, *facts.size, 3)
        assert clip.std() > 10
        assert np.abs(np.diff(clip.astype(int), axis=0)).mean() > 1
    print(f"{len(files)} real videos read")


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_all_frames_come_one_after_the_other(tmp_path, suffix):
    path = write_numbered(tmp_path / f"clip{suffix}", 9)

    assert numbers_of(np.stack(list(read_frames(path)))) == list(range(9))


def test_frames_of_a_truncated_file_end_with_an_error(tmp_path):
    path = write_numbered(tmp_path / "clip.avi", 40, size=(64, 96))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])

    with pytest.raises(DataError, match="damaged or truncated"):
        list(read_frames(path))


def test_without_an_encoder_for_h264_a_video_is_written_as_mpeg4(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})

    path = write_numbered(tmp_path / "clip.mp4", 5)

    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert video_facts(path).frames == 5
