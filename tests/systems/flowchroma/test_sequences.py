"""Finding videos: lists and plain folders, and everything that can be wrong with them."""

import numpy as np
import pytest
from PIL import Image

from gradatim.errors import DataError
from gradatim.systems.flowchroma.data import SequenceSettings, open_sequences
from gradatim.systems.flowchroma.videos import frame_order
from pictures import picture, save
from systems.flowchroma.trees import list_root, listed, video

SMALL = {"length": 2, "size": (12, 16), "match_size": 8}


def opened(root, split="all", **settings):
    return open_sequences(SequenceSettings(root=root, **{**SMALL, **settings}), split)


def names(data):
    return [data.name(index) for index in range(len(data))]


def problems_of(root, **settings):
    with pytest.raises(DataError) as error:
        opened(root, **settings)
    return str(error.value).splitlines()[1:]


def test_names_of_a_list_are_text_and_frames_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("001", "1", "0_1"):
        video(tmp_path / name, 11, seed=ord(name[0]))
    listed(tmp_path / "l.csv", [(name, f"f{i}.png", "r.png") for name in ("1", "001") for i in (10, 9, 8)])
    save(tmp_path / "r.png", picture())
    assert names(opened(tmp_path)) == ["001/f8.png", "001/f9.png", "1/f8.png", "1/f9.png"]
    assert sorted(["b10", "b9", "a", "b", "10", "9"], key=frame_order) == ["9", "10", "a", "b", "b9", "b10"]


def test_a_folder_is_the_one_of_that_name_or_of_that_number(tmp_path):
    video(tmp_path / "011")
    video(tmp_path / "21")
    save(tmp_path / "r.png", picture())
    listed(tmp_path / "l.csv", [(name, f"f{i}.png", "r.png") for name in ("11", "1") for i in range(2)])
    (line,) = problems_of(tmp_path)
    assert line.endswith(f"l.csv, line 4: no folder of the video '1' in {tmp_path}. Did you mean '21'?")
    video(tmp_path / "0001", seed=50)
    data = opened(tmp_path)
    assert names(data) == ["1/f0.png", "11/f0.png"]
    assert [data.windows[i].frames[0].path.parent.name for i in range(2)] == ["0001", "011"]


def test_videos_of_equal_names_in_two_roots_stay_two(tmp_path):
    roots = [list_root(tmp_path / name, ("a",), 3, seed=seed) for name, seed in (("x", 0), ("y", 500))]
    data = opened(roots, references=[root / "pictures" for root in roots])
    assert names(data) == ["x/a/f0.png", "x/a/f1.png", "y/a/f0.png", "y/a/f1.png"]
    places = [{frame.path.parents[1] for frame in window.frames} for window in data.windows]
    assert places == [{roots[0]}, {roots[0]}, {roots[1]}, {roots[1]}]
    with pytest.raises(DataError, match="a root is named twice"):
        opened([roots[0], roots[0]])


def test_a_list_may_lie_apart_from_its_videos_and_frames_beside_their_folders(tmp_path):
    list_root(tmp_path / "videos")
    (tmp_path / "lists").mkdir()
    apart = (tmp_path / "videos" / "list.csv").rename(tmp_path / "lists" / "b.csv")
    listed(tmp_path / "lists" / "a.csv", [("z", "f0.png", "r.png"), ("z", "f1.png", "r.png")])
    video(tmp_path / "lists", 2)
    save(tmp_path / "lists" / "r.png", picture())
    assert names(opened(tmp_path / "lists" / "a.csv")) == ["z/f0.png"]
    (line,) = problems_of(tmp_path / "lists")
    assert "has 2 lists (a.csv, b.csv): give the path of the one" in line
    data = opened([apart, tmp_path / "videos" / "a"], references=tmp_path / "videos" / "pictures")
    assert len(data) == 3 + 3 + 3


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    root = list_root(tmp_path, ("a", "b", "long"))
    (root / "a" / "f2.png").rename(root / "a" / "f2x.png")
    (root / "b" / "f1.png").write_bytes(b"")
    (root / "b" / "f3.png").write_bytes(b"no picture")
    (root / "pictures" / "r1.png").rename(root / "pictures" / "r7.png")
    rows = (root / "list.csv").read_text() + "short,-,f0.png,-,-,r0.png\nmissing,-,f0.png,-,-,r0.png\n"
    (root / "list.csv").write_text(rows)
    video(root / "short", 1)
    lines = problems_of(root, references=root / "pictures", check="full")
    assert [line.strip().removeprefix(f"{root}/") for line in lines] == [
        "list.csv: video 'missing' has 1 frame(s), and a sequence takes 2.",
        "list.csv: video 'short' has 1 frame(s), and a sequence takes 2.",
        f"list.csv, line 3: frame 'f2.png' of the video 'a' is not in {root}/a. Did you mean 'f2x.png'?",
        f"list.csv, line 15: no folder of the video 'missing' in {root}.",
        f"list.csv, line 5: reference 'r1.png' is not in {root}/pictures. Did you mean 'r7.png'?",
        "b/f1.png: the file is empty (0 bytes).",
        "b/f3.png: not an image that can be read.",
    ]


def test_a_long_account_is_cut_and_counted(tmp_path):
    listed(tmp_path / "l.csv", [("a", f"f{i}.png", "r.png") for i in range(30)])
    video(tmp_path / "a", 1)
    save(tmp_path / "r.png", picture())
    lines = problems_of(tmp_path)
    assert len(lines) == 21
    assert lines[-1] == "  ... and 9 more like these."


def test_a_list_without_its_columns_or_its_cells_is_refused(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("video,current_frames,ref_1\n")
    lines = problems_of(tmp_path)
    assert [line.split(": ", 1)[1] for line in lines] == [
        "no column 'video_name'. Did you mean 'video'? Its columns: video, current_frames, ref_1.",
        "no column 'current_frame'. Did you mean 'current_frames'? Its columns: video, current_frames, ref_1.",
        "no column 'ref1'. Did you mean 'ref_1'? Its columns: video, current_frames, ref_1.",
    ]
    listed(path, [("a", "", "r.png"), ("", "f0.png", "r.png"), ("a", "f1.png", "", "")])
    assert [line.split(", ", 1)[1] for line in problems_of(tmp_path)] == [
        "line 2: current_frame is empty.", "line 3: video_name is empty.", "line 4: every reference is empty."
    ]  # fmt: skip
    path.write_text("")
    assert "Its columns: none." in problems_of(tmp_path)[0]
    path.write_bytes(b"\xff\xfe\x00video")
    assert "cannot be read as a list" in problems_of(tmp_path)[0]


def test_references_are_not_looked_for_where_none_is_used(tmp_path):
    root = list_root(tmp_path, ("a",))
    (root / "pictures" / "r0.png").unlink()
    assert len(problems_of(root, references=root / "pictures")) == 1
    assert len(opened(root, samples="flow")) == 3
    assert len(opened(root, real_reference_probability=0)) == 3


def test_a_frame_that_is_listed_twice_counts_once_with_all_its_references(tmp_path):
    root = list_root(tmp_path, ("a",), 2)
    save(root / "pictures" / "r2.png", picture(3))
    (root / "list.csv").write_text((root / "list.csv").read_text() + "a,-,f0.png,-,-,r2.png,r0.png\n")
    data = opened(root, references=root / "pictures")
    assert names(data) == ["a/f0.png"]
    assert [source.name for source in data.windows[0].references[0]] == ["r0.png", "r1.png", "r2.png"]


def test_without_a_list_each_folder_of_enough_pictures_is_a_video(tmp_path):
    video(tmp_path / "b", 3)
    video(tmp_path / "a", 2)
    video(tmp_path / "c", 1)
    video(tmp_path / ".hidden", 5)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    data = opened(tmp_path)
    assert names(data) == ["a/f0.png", "b/f0.png", "b/f1.png"]
    assert data.notes == (f"{tmp_path / 'c'} is not used: it has 1 picture(s), and a sequence takes 2.",)
    assert data.windows[0].references == ((), ())
    assert names(opened(tmp_path / "b")) == ["b/f0.png", "b/f1.png"]
    (line,) = problems_of(tmp_path, length=4)
    assert "no folder of at least 4 pictures. 'a' has 2. 'b' has 3. 'c' has 1." in line
    assert problems_of(tmp_path / "nowhere") == [f"  {tmp_path / 'nowhere'}: no such folder."]


def test_a_folder_of_references_serves_all_videos_and_one_below_it_its_own(tmp_path):
    video(tmp_path / "a", 2)
    video(tmp_path / "b", 2)
    video(tmp_path / "looks", 3, seed=40)
    video(tmp_path / "looks" / "b", 1, seed=60)
    data = opened(tmp_path, references=tmp_path / "looks")
    assert names(data) == ["a/f0.png", "b/f0.png"]
    assert [len(window.references[1]) for window in data.windows] == [3, 1]
    assert data.windows[1].references[0][0].path.parent == tmp_path / "looks" / "b"
    (tmp_path / "empty").mkdir()
    assert [line.split(": ")[1].strip() for line in problems_of(tmp_path, references=tmp_path / "empty")] == [
        f"no reference picture in {tmp_path / 'empty'}."
    ] * 3
    assert "no such folder, for references." in problems_of(tmp_path, references=tmp_path / "gone")[0]


def test_gray_pictures_are_no_frames_and_no_references(tmp_path):
    root = list_root(tmp_path, ("a",))
    gray = picture(0, channels=1)
    save(root / "pictures" / "r0.png", gray)
    data = opened(root, references=root / "pictures")
    assert [[source.name for source in several] for several in data.windows[0].references] == [["r1.png"]] * 2
    assert data.notes == ("1 gray reference picture(s) are not used: they have no colors to take.",)
    save(root / "pictures" / "r1.png", gray.astype(np.uint16) * 257)
    save(root / "a" / "f1.png", gray)
    lines = problems_of(root, references=root / "pictures")
    assert (
        lines[0] == f"  {root / 'a' / 'f1.png'}: a gray picture; a frame must have the colors that are to be learned."
    )
    assert len([line for line in lines[1:] if "it and all other references of video 'a', frame" in line]) == 4


def test_pictures_with_palettes_transparency_or_of_a_few_pixels(tmp_path):
    video(tmp_path / "a", 2)
    Image.fromarray(picture(5)).convert("P").save(tmp_path / "a" / "f2.png")
    Image.fromarray(picture(6)).convert("RGBA").save(tmp_path / "a" / "f3.png")
    assert opened(tmp_path).sample(2, ("frames",), None)["frames"].shape == (2, 3, 12, 16)
    save(tmp_path / "a" / "f4.png", picture(0, (7, 30)))
    assert problems_of(tmp_path)[0].endswith("f4.png: 7 x 30 (height x width) is smaller than 8 x 8.")


def test_a_truncated_file_is_found_by_the_full_check_and_named_when_it_is_read(tmp_path):
    video(tmp_path / "a", 2, size=(40, 40))
    broken = tmp_path / "a" / "f1.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    assert "damaged or truncated" in problems_of(tmp_path, check="full")[0]
    with pytest.raises(DataError, match=r"f1\.png: the image is damaged or truncated"):
        opened(tmp_path).sample(0, ("frames",), None)
