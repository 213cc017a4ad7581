"""Clips and labels of every layout, with the known mistakes mended."""

import pytest

from gradatim.errors import DataError
from gradatim.systems.bombkd.datasets import DATASETS, check_options, dataset_name, list_clips
from systems.bombkd.trees import TREES, texts, videos

DISHES = "cereals", "coffee", "milk", "juice", "friedegg", "salat", "pancake", "scrambledegg", "sandwich", "tea"


def listed(name, root, split, **options) -> list[tuple[str, int]]:
    return [(sample.path, sample.label) for sample in list_clips(name, root, split, **options).samples]


def message(call, *args, **options) -> str:
    with pytest.raises(DataError) as error:
        call(*args, **options)
    return str(error.value)


def test_every_layout_has_a_tree_and_every_clip_of_it_exists(tmp_path):
    assert set(TREES) == set(DATASETS)
    for name, plant in TREES.items():
        root = plant(tmp_path / name)
        for split in ("train", "validation" if name == "folders" else "test"):
            listing = list_clips(name, root, split)
            assert listing.samples, name
            for sample in listing.samples:
                assert (listing.root / sample.path).exists(), sample
                assert 0 <= sample.label < len(listing.classes)


def test_ucf101_takes_the_list_of_the_number_and_the_validation_split_says_what_it_is(tmp_path):
    root = TREES["ucf101"](tmp_path)
    assert len(listed("ucf101", root, "train")) == 16
    assert listed("ucf101", root, "train")[-1] == ("YoYo/v_YoYo_g11_c02.mp4", 1)
    assert listed("ucf101", root, "train02") == [("Archery/v_Archery_g08_c01.avi", 0)]
    assert listed("ucf101", root, "val") == [("Archery/v_Archery_g01_c01.avi", 0)]
    assert "no validation split" in list_clips("ucf101", root, "validation").notes[0]
    assert "unknown split 'trian'. Did you mean 'train'?" in message(list_clips, "ucf101", root, "trian")
    assert "trainlist03.txt: no such file" in message(list_clips, "ucf101", root, "train03")
    assert list_clips("ucf101", root, "train").classes == ("Archery", "YoYo")


def test_ucf101_names_every_clip_whose_class_is_wrong(tmp_path):
    root = TREES["ucf101"](tmp_path)
    texts(root, {"ucfTrainTestlist/trainlist01.txt": "NoSuch/a.avi 1\nYoYo/b.avi 1\n"})
    found = message(list_clips, "ucf101", root, "train")
    assert "2 problem(s)" in found
    assert "class 'NoSuch' does not stand in classInd.txt" in found
    assert "YoYo/b.avi: has number 1, but class 'YoYo' has 2" in found


def test_hmdb51_numbers_agree_between_splits(tmp_path):
    root = TREES["hmdb51"](tmp_path)
    assert listed("hmdb51", root, "train") == [("train/run_1.mp4", 1), ("train/eat_1.mp4", 0)]
    assert listed("hmdb51", root, "test") == [("test/eat_9.mp4", 0), ("test/run_9.mp4", 1)]
    assert listed("hmdb51", root, "val") == [("validation/wave_1.mp4", 2)]
    assert list_clips("hmdb51", root, "train").classes == ("eat", "run", "wave")
    assert listed("hmdb51", root, "train", labels="original")[0] == ("train/run_1.mp4", 0)


def test_hmdb51_does_not_mix_names_and_numbers(tmp_path):
    root = TREES["hmdb51"](tmp_path)
    texts(root, {"test/metadata.csv": "file_name,label\na.mp4,3\nshort\n"})
    assert "labels are numbers in test, but names in train, validation" in message(list_clips, "hmdb51", root, "train")
    assert "line 'short' has no file name and label" in message(list_clips, "hmdb51", root, "test")


def test_ssv2_reads_every_blank_of_a_template(tmp_path):
    root = TREES["ssv2"](tmp_path)
    folder = "20bn-something-something-v2"
    assert listed("ssv2", root, "train") == [(f"{folder}/11.webm", 0), (f"{folder}/12.mp4", 1)]
    assert listed("ssv2", root, "validation") == [(f"{folder}/21.webm", 1)]
    assert listed("ssv2", root, "test") == [(f"{folder}/31.webm", 0)]
    assert listed("ssv2", root, "train", labels="original")[0] == (f"{folder}/11.webm", -1)


@pytest.mark.parametrize("content", ['["a part", "b"]', '{"0": "a part", "1": "b"}', '{"a part": 0, "b": "1"}'])
def test_ssv2_takes_classes_in_any_of_their_forms(tmp_path, content):
    root = TREES["ssv2"](tmp_path)
    texts(root, {"labels/labels.json": content, "labels/train.json": '[{"id": 11, "template": "A  [part]"}]'})
    listing = list_clips("ssv2", root, "train")
    assert [sample.label for sample in listing.samples] == [0]
    assert listing.classes == ("a part", "b")


def test_ssv2_names_clips_without_a_class_and_a_missing_file_of_answers(tmp_path):
    root = TREES["ssv2"](tmp_path)
    texts(root, {"labels/train.json": '[{"id": 1, "template": "New"}, {"id": 2}]'})
    found = message(list_clips, "ssv2", root, "train")
    assert "clip 1: template 'New' does not stand in labels.json." in found
    assert "clip 2: has no template." in found
    (root / "labels/test-answers.csv").unlink()
    assert "without it the clips of the test split have no labels" in message(list_clips, "ssv2", root, "test")
    texts(root, {"labels/train.json": "["})
    assert "not valid JSON" in message(list_clips, "ssv2", root, "train")


def test_diving48_refuses_to_validate_on_its_training_clips(tmp_path):
    root = TREES["diving48"](tmp_path)
    assert "Set `holdout: 0.1`" in message(list_clips, "diving48", root, "validation")
    assert listed("diving48", root, "validation", labels="original") == listed("diving48", root, "train")
    sample = list_clips("diving48", root, "train").samples[1]
    assert (sample.path, sample.label, sample.start, sample.end) == ("rgb/y_2.webm", 47, 3, 7)
    assert list_clips("diving48", root, "test").classes[0] == "Back-15som-05Twis-FREE"


def test_breakfast_knows_all_ten_dishes_by_their_file_names(tmp_path):
    root = TREES["breakfast"](tmp_path)
    found = dict(listed("breakfast", root, "train"))
    for label, dish in enumerate(DISHES):
        assert found[f"P03/cam01/P03_{dish}.avi"] == label
    assert found["P06/cam01/P06_x.avi"] == 5
    assert len(found) == 12
    assert ("P03/stereo/P03_tea_ch0.avi", 9) in listed("breakfast", root, "train", cameras=["stereo"])
    assert len(listed("breakfast", root, "test", fold=1)) == 12
    videos(root, "P03/cam01/P03_soup.avi")
    assert "P03/cam01/P03_soup.avi: names no dish" in message(list_clips, "breakfast", root, "train")


def test_uav_parts_people_in_two_ways(tmp_path):
    root = TREES["uav"](tmp_path)
    assert [label for _, label in listed("uav", root, "train")] == [0, 2]
    assert [label for _, label in listed("uav", root, "train-v2")] == [1]
    assert [label for _, label in listed("uav", root, "validation")] == [1]
    assert list_clips("uav", root, "train").classes == ("drink", "brush hair", "eat, snacks")
    videos(root, "all_rgb/P002A099.avi")
    assert "P002A099.avi: tells no person" in message(list_clips, "uav", root, "train")
    assert "unknown split 'dev'" in message(list_clips, "uav", root, "dev")


def test_shanghaitech_needs_frame_labels_of_every_test_clip(tmp_path):
    root = TREES["shanghaitech"](tmp_path)
    assert listed("stech", root, "train") == [("training/videos/01_001.avi", 0), ("training/videos/01_002.avi", 0)]
    assert listed("shtech", root, "test") == [("testing/frames/01_0014", 1), ("testing/frames/01_0015", 0)]
    assert listed("shanghaitech", root / "ShanghaiTech", "test") == listed("shanghaitech", root, "test")
    (root / "ShanghaiTech/test_frame_mask/01_0014.npy").unlink()
    assert "testing/frames/01_0014: has no frame labels" in message(list_clips, "stech", root, "test")
    assert listed("stech", root, "test", labels="original")[0] == ("testing/frames/01_0014", 0)


def test_ucf_crime_tells_when_something_happens(tmp_path):
    root = TREES["ucf-crime"](tmp_path)
    crime, normal = list_clips("ucf-crime", root, "test").samples
    assert (crime.path, crime.label, crime.intervals) == ("Videos/Abuse/Abuse028_x264.mp4", 1, ((2, 4), (8, 9)))
    assert (normal.label, normal.intervals) == (0, ())
    assert [label for _, label in listed("ucf-crime", root, "train")] == [1, 0]
    listing = list_clips("ucf-crime", root, "train", task="classes")
    assert listing.classes == ("Abuse", "Arson", "Normal")
    assert [sample.label for sample in listing.samples] == [1, 2]


def test_folders_share_one_numbering_and_may_be_without_splits(tmp_path):
    root = TREES["folders"](tmp_path)
    train = listed("folders", root, "train")
    assert len(train) == 9
    assert ("train/jump/frames", 0) in train
    assert listed("folders", root, "validate") == [
        ("val/jump/0.mp4", 0), ("val/jump/1.mp4", 0), ("val/walk/0.mp4", 1), ("val/walk/1.mp4", 1),
    ]  # fmt: skip
    assert listed("folders", root / "val", "train") == [
        ("jump/0.mp4", 0), ("jump/1.mp4", 0), ("walk/0.mp4", 1), ("walk/1.mp4", 1),
    ]  # fmt: skip
    assert "unknown split 'test'" in message(list_clips, "folders", root, "test")
    assert "keep a part of training out with `holdout`" in message(list_clips, "folders", root / "val", "test")
    (root / "train/idle").mkdir()
    assert "train/idle: holds neither a video nor a folder of pictures" in message(list_clips, "folders", root, "train")


def test_names_and_options_are_checked(tmp_path):
    assert dataset_name("UCF101") == "ucf101"
    assert "unknown data set 'ufc101'. Did you mean 'ucf101'?" in message(dataset_name, "ufc101")
    assert check_options("breakfast", {"fold": 2, "cameras": ["cam01"]}) == {"fold": 2, "cameras": ("cam01",)}
    found = message(check_options, "breakfast", {"fould": 2, "fold": 9})
    assert "unknown option 'fould'. Did you mean 'fold'?" in found
    assert "option 'fold', 9: Input should be less than or equal to 4." in found
    assert "no such folder" in message(list_clips, "ucf101", tmp_path / "none", "train")
    texts(tmp_path, {"ucfTrainTestlist/classInd.txt": "1 A\n", "ucfTrainTestlist/trainlist01.txt": ""})
    assert "split 'train' of data set 'ucf101' has no clips there" in message(list_clips, "ucf101", tmp_path, "train")
