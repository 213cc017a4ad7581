"""Readers of annotation formats: equal data in any of them are equal; what is wrong is said with file and line."""

import json
from pathlib import Path

import numpy as np
import pytest

from annotated import picture, yolo_folder
from gradatim.errors import DataError
from gradatim.systems.multigriddet.annotations import read_annotations
from gradatim.systems.multigriddet.data import DetectionSettings, open_data
from gradatim.systems.multigriddet.formats.entry import Wanted
from gradatim.systems.multigriddet.formats.voc import VOC_CLASSES

NAMES = ("cat", "dog")
# Pictures are 20 x 30 (height, width): boxes in pixels, class.
TRUTH = {"a": [(3, 4, 9, 12, 1), (0, 0, 30, 20, 0)], "b c": [(6, 2, 18, 10, 0)], "empty": []}


def read(root, **options):
    wanted = {name: options.pop(name) for name in ("role", "split", "images", "classes") if name in options}
    return read_annotations(Wanted(root=Path(root), **wanted), **options)


def refused(root, **options):
    with pytest.raises(DataError) as error:
        read(root, **options)
    return str(error.value)


def lines_file(folder: Path, lines: list[str], *, encoding="utf-8", pictures=TRUTH) -> Path:
    for number, stem in enumerate(pictures):
        picture(folder / f"{stem}.png", seed=number)
    path = folder / "train.txt"
    path.write_bytes("\n".join(lines).encode(encoding))
    (folder / "classes.txt").write_text("\n".join(NAMES))
    return path


def as_lines(root: Path) -> Path:
    words = (" ".join([f"{stem}.png", *(",".join(map(str, box)) for box in boxes)]) for stem, boxes in TRUTH.items())
    return lines_file(root, list(words))


def as_yolo(root: Path) -> Path:
    def line(left, top, right, bottom, label):
        values = ((left + right) / 60, (top + bottom) / 40, (right - left) / 30, (bottom - top) / 20)
        return f"{label} {' '.join(map(repr, values))}\n"

    return yolo_folder(root, {stem: "".join(line(*box) for box in boxes) for stem, boxes in TRUTH.items()})


def coco_tree() -> dict:
    images = [{"id": 10 + i, "file_name": f"{s}.png", "height": 20, "width": 30} for i, s in enumerate(TRUTH)]
    boxes = [(10 + i, box) for i, found in enumerate(TRUTH.values()) for box in found]
    return {
        "images": images,
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": image, "category_id": (3, 7)[label], "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
            for n, (image, (x1, y1, x2, y2, label)) in enumerate(boxes)
        ],
    }


def as_coco(root: Path, tree=None, split="train2017") -> Path:
    for number, stem in enumerate(TRUTH):
        picture(root / "images" / split / f"{stem}.png", seed=number)
    path = root / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco_tree() if tree is None else tree))
    return root


def voc_xml(stem: str, boxes, extra="") -> str:
    objects = "".join(
        f"<object>\n<name>{NAMES[label]}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin>"
        f"<ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>\n"
        for x1, y1, x2, y2, label in boxes
    )
    size = "<size><width>30</width><height>20</height><depth>3</depth></size>"
    return f"<annotation>\n<filename>{stem}.png</filename>{size}\n{objects}{extra}</annotation>"


def as_voc(root: Path) -> Path:
    for number, (stem, boxes) in enumerate(TRUTH.items()):
        picture(root / "JPEGImages" / f"{stem}.png", seed=number)
        path = root / "Annotations" / f"{stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(voc_xml(stem, boxes))
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(TRUTH))
    (root / "ImageSets" / "Main" / "cat_trainval.txt").write_text("not a list of this kind")
    (root / "classes.txt").write_text("\n".join(NAMES))
    return root


WRITERS = {"lines": as_lines, "yolo": as_yolo, "coco": as_coco, "voc": as_voc}


@pytest.mark.parametrize("kind", WRITERS)
def test_equal_data_are_equal_in_every_format_and_the_kind_is_told_by_the_content(kind, tmp_path):
    root = WRITERS[kind](tmp_path)
    for chosen in ("auto", kind):
        found = read(root, kind=chosen)
        assert found.classes == NAMES
        assert found.notes == ()
        assert [one.image.stem for one in found.images] == list(TRUTH)
        for one, boxes in zip(found.images, TRUTH.values(), strict=True):
            np.testing.assert_allclose(one.boxes, np.array([box[:4] for box in boxes]).reshape(-1, 4), atol=1e-9)
            assert one.classes.tolist() == [box[4] for box in boxes]
            assert one.size == (20, 30)
            assert not one.crowd.any()
            assert not one.difficult.any()


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_is_data_of_a_stage(kind, tmp_path):
    settings = DetectionSettings(root=WRITERS[kind](tmp_path), size=32, holdout=0.4)
    train, validate, everything = (open_data(settings, split) for split in ("train", "validate", "all"))
    assert (len(train), len(validate), len(everything)) == (2, 1, 3)
    shapes = [everything.sample(i, ("image", "boxes"), None)["boxes"].shape for i in range(3)]
    assert shapes == [(2, 5), (1, 5), (0, 5)]


def test_what_is_no_data_set_is_refused(tmp_path):
    assert refused(tmp_path / "nothing") == f"{tmp_path / 'nothing'}: no such file or folder."
    assert "holds no annotations of a known kind" in refused(tmp_path)
    (tmp_path / "x.txt").write_text("")
    assert "holds no line" in refused(tmp_path / "x.txt")


# Lists of lines


def test_a_path_may_hold_blanks_and_commas_and_ends_where_boxes_begin(tmp_path):
    names = ["two  blanks", "1,5 m", "a,b,c", "ü ñ", "x 1,2,3"]
    path = lines_file(tmp_path, [f"{n}.png 3,4,9,12,1" for n in names], pictures=names)
    assert [one.image.stem for one in read(path).images] == names


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_are_read_in_every_encoding(encoding, end, tmp_path):
    path = lines_file(tmp_path, [f"hütte.png 3,4,9,12,1{end}x.png"], encoding=encoding, pictures=["hütte", "x"])
    found = read(path)
    assert [one.image.name for one in found.images] == ["hütte.png", "x.png"]
    assert [len(one.boxes) for one in found.images] == [1, 0]
    assert any("Latin-1" in note for note in found.notes) == (encoding == "latin-1")


def test_paths_of_another_disk_are_found_below_the_given_folder(tmp_path):
    inside = picture(tmp_path / "my" / "coco" / "val" / "a.png")
    picture(tmp_path / "my" / "b.png")
    picture(tmp_path / "my" / "d" / "c.png")
    path = tmp_path / "list.txt"
    path.write_text("/home/me/coco/val/a.png 1,1,5,5,0\nb.png\nD:\\data\\d\\c.png 1,1,5,5,0\n")
    found = read(path, images=tmp_path / "my", classes=NAMES)
    assert [one.image for one in found.images] == [inside, tmp_path / "my/b.png", tmp_path / "my/d/c.png"]


def test_all_faults_of_a_list_are_said_at_once_with_file_and_line(tmp_path):
    path = lines_file(
        tmp_path,
        [
            "a.png 3,4,9,12",
            "1,2,3,4,0 a.png",
            "a.png 9,4,3,12,0 5,5,5,9,0 nan,1,2,3,0 inf,1,2,3,0 40,4,49,12,0 3,4,9,12,2 3,4,9,12,-1 3,4,9,12,0.5",
            "b c.png 3,4,9,x,1",
            "empty.png 3,4,9,12,1 oops 3,4,9,12,1",
            "missing.png",
            "./a.png",
            "b c.png 1,1,1e9,5,0 3,,9,12,0",
        ],
    )
    message = refused(path)
    for words in (
        ":1, box 1: '3,4,9,12' has 4 values; needs 5: x1,y1,x2,y2,class.",
        ":2: begins with a box; the path of an image comes first.",
        ":3: ", f"stands in {path}:1 already",
        ":5, box 2: 'oops' has 1 values",
        "missing.png: no such file.",
        "b c.png 3,4,9,x,1: no such file.",
        ":7: ",
        ":8, box 1: box 1,1,1e+09,5 lies mostly outside its picture of 30 x 20 (width x height).",
        ":8, box 2: '3,,9,12,0' is no box",
    ):  # fmt: skip
        assert words in message, words
    own = lines_file(
        tmp_path, ["a.png 9,4,3,12,0 5,5,5,9,0 nan,1,2,3,0 40,4,49,12,0 3,4,9,12,2 3,4,9,12,-1 1,1,2,2,.5"]
    )
    message = refused(own)
    for words in (
        "1, box 1: box 9,4,3,12 has no area (width -6, height 8).",
        "1, box 2: box 5,5,5,9 has no area (width 0, height 4).",
        "1, box 3: box nan,1,2,3 is not finite.",
        "1, box 4: box 40,4,49,12 lies outside its picture of 30 x 20 (width x height).",
        "1, box 5: unknown class 2; there are 2, counted from 0.",
        "1, box 6: unknown class -1; there are 2, counted from 0.",
        "1, box 7: class '.5' is not a whole number.",
        "7 problem(s)",
    ):
        assert words in message, words


def test_bad_boxes_may_be_dropped_and_are_counted_with_the_first(tmp_path):
    path = lines_file(tmp_path, ["a.png 9,4,3,12,0 3,4,9,12,1 nan,1,2,3,0", "empty.png 3,4,9,12,7"])
    found = read(path, on_bad_box="drop")
    assert [one.classes.tolist() for one in found.images] == [[1], []]
    (note,) = found.notes
    assert note.startswith("3 boxes that are wrong were left out")
    assert f"{path}:1, box 1: box 9,4,3,12 has no area" in note


def test_what_is_no_box_at_all_is_refused_even_where_bad_boxes_are_dropped(tmp_path):
    path = lines_file(tmp_path, ["a.png 3,4,9,12"])
    assert "has 4 values" in refused(path, on_bad_box="drop")


def test_boxes_that_reach_a_little_outside_are_cut_and_counted(tmp_path):
    path = lines_file(tmp_path, ["a.png -2,4,9,12,0 25,15,31.5,20.001,1 3,4,9,12,1"])
    found = read(path)
    assert found.images[0].boxes.tolist() == [[0, 4, 9, 12], [25, 15, 30, 20], [3, 4, 9, 12]]
    (note,) = found.notes
    assert note == f"2 boxes reach outside their picture and were cut to it; the first is {path}:1, box 1."


def test_classes_without_names_are_numbered_and_said(tmp_path):
    path = lines_file(tmp_path, ["a.png 3,4,9,12,3"])
    (tmp_path / "classes.txt").unlink()
    found = read(path)
    assert found.classes == ("class 0", "class 1", "class 2", "class 3")
    assert "No file names the classes" in found.notes[0]
    path.write_text("a.png 3,4,9,12,1000000000")
    assert "give `classes`" in refused(path)


# YOLO


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("0 0.5 0.5 0.2\n", ":1: has 4 values; needs 5"),
        ("0 0.5 0.5 0.2 0.1 0.9\n", ":1: has 6 values; needs 5"),
        ("\n\ncat 0.5 0.5 0.2 0.2\n", ":3: class 'cat' is not a whole number."),
        ("0 0.5 half 0.2 0.2\n", ":1: 'half' is not a number."),
        ("0 0.5 0.5 0 0.2\n", "has no area"),
        ("0 0.5 0.5 -0.2 0.2\n", "has no area"),
        ("0 nan 0.5 0.2 0.2\n", "is not finite"),
        ("0 15 10 4 4\n", "lies outside its picture"),
        ("2 0.5 0.5 0.2 0.2\n", ":1: unknown class 2; there are 2"),
        (b"\x00\x01\x02\xff\xfe", "not a text file"),
    ],
)
def test_faults_of_yolo_labels_are_said_with_file_and_line(label, words, tmp_path):
    yolo_folder(tmp_path, {"a": label, "b": "0 0.5 0.5 0.2 0.2\n"})
    message = refused(tmp_path)
    assert words in message
    assert "labels/train/a.txt:" in message
    assert "1 problem(s)" in message


def test_a_label_file_without_a_picture_is_refused(tmp_path):
    yolo_folder(tmp_path, {"a": None})
    (tmp_path / "labels/train/b.txt").write_text("0 0.5 0.5 0.2 0.2")
    assert "b.txt: there is no picture for it" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("names: [cat, dog", "data.yaml:1: not valid YAML"),
        ("- 1\n", "holds no keys"),
        ("names: {1: cat}\n", "`names` must be a list"),
        ("names: 5\n", "`names` must be a list"),
    ],
)
def test_a_damaged_yaml_file_is_refused(content, words, tmp_path):
    yolo_folder(tmp_path, {"a": None}, names=())
    (tmp_path / "data.yaml").write_text(content)
    assert words in refused(tmp_path)


def test_yolo_folders_of_other_layouts_are_read(tmp_path):
    flat = tmp_path / "flat"
    picture(flat / "images" / "a.png")
    (flat / "labels").mkdir()
    (flat / "labels" / "a.txt").write_text("1 0.5 0.5 0.2 0.2")
    (flat / "labels" / "classes.txt").write_text("cat\ndog\n")
    assert read(flat).images[0].classes.tolist() == [1]
    assert read(flat, role="validate") is None
    above = tmp_path / "above"
    for split in ("train", "valid"):
        picture(above / split / "images" / f"{split}.png")
    (above / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n")
    for root in (above, above / "data.yaml"):
        assert [one.image.stem for one in read(root).images] == ["train"]
        assert [one.image.stem for one in read(root, role="validate").images] == ["valid"]
    listed = tmp_path / "listed"
    picture(listed / "pool" / "images" / "p.png")
    (listed / "pool" / "labels").mkdir()
    (listed / "pool" / "labels" / "p.txt").write_text("0 0.5 0.5 0.2 0.2")
    (listed / "some.txt").write_text("pool/images/p.png\n")
    (listed / "data.yaml").write_text("train: some.txt\nnames: [cat]\n")
    assert read(listed).images[0].classes.tolist() == [0]


def test_an_unknown_split_is_answered_with_those_that_exist(tmp_path):
    yolo_folder(tmp_path, {"a": None}, split="train2017")
    assert "unknown split 'train2018'. Did you mean 'train2017'?" in refused(tmp_path, split="train2018")


# COCO


def changed(place, value):
    tree = coco_tree()
    node = tree
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value
    return tree


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ([], "has no list 'images', 'annotations', 'categories'"),
        ({"images": []}, "has no list 'annotations', 'categories'"),
        (changed(("annotations", 0), 5), "annotations[0]: is no object"),
        (changed(("annotations", 1, "image_id"), 99), "annotations[1] (id 1): image 99 is not among the images."),
        (changed(("annotations", 1, "category_id"), 4), "category 4 is not among the categories."),
        (changed(("annotations", 1, "category_id"), [4]), "category [4] is not among the categories."),
        (changed(("annotations", 1, "bbox"), [1, 2, 3]), "bbox [1, 2, 3] is not [left, top, width, height]."),
        (changed(("annotations", 1, "bbox"), [1, 2, 3, "4"]), "is not [left, top, width, height]."),
        (changed(("annotations", 1, "bbox"), [1, 2, -3, 4]), "has no area"),
        (changed(("annotations", 1, "bbox"), [1, 2, 10**400, 4]), "is not finite"),
        (changed(("images", 1, "id"), 10), "images[1]: image 10 stands there twice."),
        (changed(("images", 1, "file_name"), "a.png"), "stands in"),
        (changed(("images", 1, "file_name"), "../train2017/a.png"), "stands in"),
        (changed(("images", 1, "file_name"), None), "images[1]: needs a whole `id` and a `file_name`."),
        (changed(("images", 1, "width"), 31), "says 20 x 31 (height x width)"),
        (changed(("categories", 1, "id"), 7), "category 7 'cat' stands there twice."),
        (changed(("categories", 1), {}), "categories[1]: needs a whole `id` and a `name`."),
        (changed(("categories",), []), "has no category"),
    ],
)
def test_faults_of_a_coco_file_are_said_with_their_place(tree, words, tmp_path):
    assert words in refused(as_coco(tmp_path, tree))


def test_json_that_is_cut_off_is_refused_with_its_line(tmp_path):
    root = as_coco(tmp_path)
    path = root / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(coco_tree(), indent=1)[:200])
    assert f"{path}:" in refused(root)
    assert "not valid JSON" in refused(root)
    path.write_text("[" * 100_000)
    assert "not valid JSON" in refused(root)


def test_a_crowd_is_not_learned_but_there_for_evaluation(tmp_path):
    root = as_coco(tmp_path, changed(("annotations", 0, "iscrowd"), 1))
    dataset = open_data(DetectionSettings(root=root, size=64), "all")
    assert dataset.record(0).crowd.tolist() == [True, False]
    assert dataset.sample(0, ("boxes",), None)["boxes"][:, 4].tolist() == [0]
    assert any("1 object" in note and "crowd" in note for note in dataset.notes)


def test_a_coco_file_finds_its_images_and_its_validation(tmp_path):
    root = as_coco(tmp_path)
    as_coco(tmp_path, split="val2017")
    file = root / "annotations" / "instances_train2017.json"
    assert len(read(file).images) == 3
    assert read(root, role="validate").images[0].image.parent.name == "val2017"
    moved = tmp_path / "elsewhere.json"
    file.rename(moved)
    assert len(read(moved, images=root / "images" / "train2017").images) == 3
    assert "no such file" in refused(moved)


def test_given_classes_choose_the_numbers_of_a_coco_file(tmp_path):
    root = as_coco(tmp_path)
    assert read(root, classes=("dog", "cat")).images[0].classes.tolist() == [0, 1]
    assert "unknown class 'dog'. Did you mean 'dogs'?" in refused(root, classes=("dogs", "cat"))


# VOC


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("<object>", "a.xml:"),
        ("<object></object>", "the object has no <name>"),
        ("<object><name>dgo</name></object>", "Did you mean 'dog'?"),
        ("<object><name>dog</name></object>", "object 'dog' has no <bndbox>"),
        ("<object><name>dog</name><bndbox><xmin>1</xmin></bndbox></object>", "<ymin> is missing"),
        (
            "<object><name>dog</name><bndbox><xmin>1</xmin><ymin>x</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>",
            "<ymin> is 'x', no number",
        ),
        (
            "<object><name>dog</name><bndbox><xmin>9</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>",
            "has no area",
        ),
        ("<x>" * 60 + "</x>" * 60, "nested too deeply"),
    ],
)
def test_faults_of_a_voc_file_are_said_with_file_and_line(extra, words, tmp_path):
    root = as_voc(tmp_path)
    (root / "Annotations" / "a.xml").write_text(voc_xml("a", TRUTH["a"], extra))
    message = refused(root)
    assert words in message
    assert "a.xml:" in message


def test_xml_that_defines_entities_or_is_something_else_is_refused(tmp_path):
    root = as_voc(tmp_path)
    path = root / "Annotations" / "a.xml"
    for content, words in (
        ('<!DOCTYPE x [<!ENTITY a "aaaa">]><annotation>&a;</annotation>', "defines an entity"),
        ("<html></html>", "begins with <html>"),
        ("", "not valid XML"),
        ("<?xml version='1.0' encoding='no-such'?><annotation/>", "not valid XML"),
    ):
        path.write_text(content)
        assert words in refused(root)
    path.write_bytes(voc_xml("a", []).encode("utf-16"))
    assert len(read(root).images) == 3


def test_difficult_objects_are_marked_and_learned_only_if_asked(tmp_path):
    root = as_voc(tmp_path)
    path = root / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
    for learn, count in ((False, 1), (True, 2)):
        dataset = open_data(DetectionSettings(root=root, size=64, learn_difficult=learn), "all")
        assert dataset.record(0).difficult.tolist() == [True, False]
        assert len(dataset.sample(0, ("boxes",), None)["boxes"]) == count
        assert any("difficult" in note for note in dataset.notes) == (not learn)


def test_voc_names_its_own_classes_and_reads_without_lists(tmp_path):
    root = as_voc(tmp_path)
    (root / "classes.txt").unlink()
    (root / "ImageSets" / "Main" / "trainval.txt").unlink()
    found = read(root)
    assert found.classes == VOC_CLASSES
    assert len(found.images) == 3
    assert read(root, role="validate") is None
    path = root / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("dog", "wolf"))
    assert read(root).classes == ("cat", "wolf")
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nz\n")
    assert "z.xml: No such file" in refused(root)


def test_classes_are_read_from_a_file_and_must_differ(tmp_path):
    path = as_lines(tmp_path)
    names = tmp_path / "own.txt"
    names.write_text("tabby cat\r\nhound\r\n\r\n")
    assert open_data(DetectionSettings(root=path, classes=names), "all").classes == ("tabby cat", "hound")
    names.write_text("cat\ncat\n")
    with pytest.raises(DataError, match="'cat' stands there twice"):
        open_data(DetectionSettings(root=path, classes=names), "all")
    names.write_text("\n")
    with pytest.raises(DataError, match="holds no class"):
        open_data(DetectionSettings(root=path, classes=names), "all")


def test_a_yolo_folder_may_lie_below_a_folder_named_images(tmp_path):
    root = yolo_folder(tmp_path / "images" / "set", {"a": "1 0.5 0.5 0.2 0.2\n"})
    assert read(root).images[0].classes.tolist() == [1]
