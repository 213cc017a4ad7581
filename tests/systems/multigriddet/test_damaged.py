"""Files that are damaged at random: a message that names the file, or data that hold; nothing else."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from annotated import picture
from gradatim.errors import DataError
from gradatim.systems.multigriddet.anchors import read_anchors
from gradatim.systems.multigriddet.annotations import read_annotations
from gradatim.systems.multigriddet.data import DetectionSettings, open_data
from gradatim.systems.multigriddet.formats.entry import Wanted

WORDS = [b"nan", b"inf", b"-1", b"1e999", b"0", b"", b"99999999999999999999999", b"0.5", b"null", b"\xff\xfe", b"\x00",
         b"\xef\xbb\xbf", b",", b" ", b"\n", b'"', b"{", b"[", b"<", b">", b"&#0;", b"&lt;", b"../", b"a.png",
         b"A" * 5000, "ü😀".encode(), "ü".encode("latin-1"), b":", b"\\", b"/"]  # fmt: skip
BOXES = {"a": [(3, 4, 9, 12, 1), (0, 0, 30, 20, 0)], "b": [(6, 2, 18, 10, 0)], "c": []}


def lines(root):
    for stem in BOXES:
        picture(root / f"{stem}.png")
    words = (" ".join([f"{stem}.png", *(",".join(map(str, box)) for box in boxes)]) for stem, boxes in BOXES.items())
    (root / "list.txt").write_text("\n".join(words))
    (root / "classes.txt").write_text("cat\ndog\n")
    return root / "list.txt", [root / "list.txt", root / "classes.txt"]


def yolo(root):
    for stem in BOXES:
        picture(root / "images" / f"{stem}.png")
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n1 0.3 0.4 0.2 0.1\n")
    (root / "data.yaml").write_text("path: .\nnames:\n  0: cat\n  1: dog\n")
    return root, [root / "labels" / "a.txt", root / "data.yaml"]


def coco(root):
    for stem in BOXES:
        picture(root / "images" / f"{stem}.png")
    images = [{"id": i, "file_name": f"{stem}.png", "height": 20, "width": 30} for i, stem in enumerate(BOXES)]
    boxes = [(i, box) for i, found in enumerate(BOXES.values()) for box in found]
    annotations = [
        {"id": n, "image_id": i, "category_id": label + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
        for n, (i, (x1, y1, x2, y2, label)) in enumerate(boxes)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    path = root / "some.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path, [path]


def voc(root):
    (root / "Annotations").mkdir()
    for stem, boxes in BOXES.items():
        picture(root / "JPEGImages" / f"{stem}.png")
        objects = "".join(
            f"<object><name>{('cat', 'dog')[label]}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for x1, y1, x2, y2, label in boxes
        )
        size = "<size><width>30</width><height>20</height></size>"
        (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\nc\n")
    return root, [root / "Annotations" / "a.xml", root / "ImageSets" / "Main" / "train.txt"]


WRITERS = {"lines": lines, "yolo": yolo, "coco": coco, "voc": voc}


def damaged(content, random):
    """A content with one to three faults."""
    for _ in range(int(random.integers(1, 4))):
        at, end = sorted(random.integers(0, len(content) + 1, 2).tolist())
        word = WORDS[int(random.integers(len(WORDS)))]
        numbers = [found.span() for found in re.finditer(rb"[0-9.]+", content)]
        fault = int(random.integers(6))
        if fault == 0:
            content = content[:at]
        elif fault == 1:
            content = content[:at] + word + content[at:]
        elif fault == 2:
            content = content[:at] + content[min(end, at + 30) :]
        elif fault == 3 and content:
            changed = bytearray(content)
            changed[int(random.integers(len(changed)))] = int(random.integers(256))
            content = bytes(changed)
        elif fault == 4:
            content = content[:at] + content[at:end] * 2 + content[end:]
        elif numbers:
            start, stop = numbers[int(random.integers(len(numbers)))]
            content = content[:start] + word + content[stop:]
    return content


@pytest.mark.parametrize("policy", ["error", "drop"])
@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_annotations_are_refused_with_words_or_hold(kind, policy, tmp_path):
    root, files = WRITERS[kind](tmp_path)
    refused = held = 0
    for seed in range(150):
        random = np.random.default_rng(seed)
        file = files[int(random.integers(len(files)))]
        content = file.read_bytes()
        file.write_bytes(damaged(content, random))
        try:
            found = read_annotations(Wanted(root=root), kind=kind, on_bad_box=policy)
        except DataError as error:
            refused += str(tmp_path) in str(error)
        else:
            held += 1
            for one in found.images:
                height, width = one.size
                assert np.isfinite(one.boxes).all()
                assert (one.boxes >= 0).all()
                assert (one.boxes <= [width, height, width, height]).all()
                assert (one.boxes[:, 2:] > one.boxes[:, :2]).all()
                assert (one.classes >= 0).all()
                assert (one.classes < len(found.classes)).all()
        finally:
            file.write_bytes(content)
    assert refused + held == 150
    assert held >= 2


def test_no_object_disappears_in_silence(tmp_path):
    path, _ = lines(tmp_path)
    words = ["3,4,9,12,1", "9,4,3,12,0", "nan,1,2,3,0", "28,1,31,9,1", "1,1,5,5,7", "-50,1,2,9,0"]
    total = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        chosen = [words[int(i)] for i in random.integers(len(words), size=5)]
        path.write_text(" ".join(["a.png", *chosen]))
        found = read_annotations(Wanted(root=path), on_bad_box="drop")
        noted = sum(int(note.split()[0]) for note in found.notes if "left out" in note)
        assert len(found.images[0].boxes) + noted == 5
        total += noted
    assert total > 50


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty (0 bytes)"),
        (b"no image at all", "not an image"),
        ("cut", "damaged or truncated"),
    ],
)
def test_damaged_pictures_are_found_before_training(content, words, tmp_path):
    path, _ = lines(tmp_path)
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    with pytest.raises(DataError, match=re.escape(words)) as error:
        open_data(DetectionSettings(root=path, check="full"), "train")
    assert "b.png" in str(error.value)


def test_a_truncated_picture_that_headers_do_not_show_is_refused_when_it_is_read(tmp_path):
    path, _ = lines(tmp_path)
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    dataset = open_data(DetectionSettings(root=path, size=32, check="headers"), "all")
    with pytest.raises(DataError, match="damaged or truncated"):
        dataset.sample(1, ("image",), None)


@pytest.mark.parametrize("name", ["with blank.png", "ü ñ.png", "猫.png", "a'b\"c.png", "100%.png", "#1.png", "a,b.png"])
def test_pictures_of_every_name_are_read(name, tmp_path):
    for kind, writer in WRITERS.items():
        root = tmp_path / kind
        root.mkdir()
        given, _ = writer(root)
        old = next(root.rglob("c.png"))
        old.rename(old.with_name(name))
        stem = name.removesuffix(".png")
        if kind == "lines":
            given.write_text(given.read_text().replace("c.png", f"{name} 1,1,5,5,0"))
        elif kind == "coco":
            given.write_text(given.read_text().replace('"c.png"', json.dumps(name)))
        elif kind == "voc":
            (root / "Annotations" / "c.xml").rename(root / "Annotations" / f"{stem}.xml")
            listing = root / "ImageSets" / "Main" / "train.txt"
            listing.write_text(listing.read_text().replace("c\n", f"{stem}\n"))
        dataset = open_data(DetectionSettings(root=given, kind=kind, size=32), "all")
        assert name in [dataset.record(i).image.name for i in range(3)]


def test_an_upright_photograph_that_is_stored_turned_has_boxes_in_upright_pixels(tmp_path):
    path, _ = lines(tmp_path)
    image = Image.fromarray(np.zeros((30, 20, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    path.write_text("a.jpg 0,0,30,20,0\n")
    dataset = open_data(DetectionSettings(root=path, size=32), "all")
    assert dataset.record(0).size == (20, 30)
    assert dataset.source_image(0).shape == (20, 30, 3)


def test_damaged_anchors_are_refused_with_words_or_hold(tmp_path):
    path = tmp_path / "anchors.txt"
    whole = b"112,74  149,190  370,328\n28,17  56,112  57,35\n9,10  13,28  28,55\n"
    refused = held = 0
    for seed in range(300):
        path.write_bytes(damaged(whole, np.random.default_rng(seed)))
        try:
            anchors = read_anchors(path)
        except DataError as error:
            refused += "anchors.txt" in str(error)
        else:
            held += 1
            assert len(anchors) == 3
            assert np.isfinite([side for scale in anchors for one in scale for side in one]).all()
    assert refused + held == 300
    assert held >= 5
