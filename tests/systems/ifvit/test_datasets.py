"""Folders of prints: each finger is one finger, no person is on both sides, and no file counts twice."""

import shutil

import numpy as np
import pytest

from gradatim.errors import DataError
from gradatim.systems.ifvit.datasets import DATASETS, list_prints, parted, verify_prints
from gradatim.systems.ifvit.datasets.write import write_layout


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def identities(root, layout):
    return {
        file.path.relative_to(root).as_posix(): (file.finger, file.impression)
        for file in list_prints(layout, root).files
    }


@pytest.mark.parametrize("layout", DATASETS)
def test_what_is_written_reads_back_with_its_identities(layout, tmp_path):
    assert write_layout(tmp_path, layout, fingers=12, impressions=2, size=32) == 24
    listing = list_prints(layout, tmp_path)
    verify_prints(tmp_path, listing.files)
    assert listing.notes == ()
    fingers = [file.finger for file in listing.files]
    assert len(fingers) == 24
    assert {fingers.count(finger) for finger in fingers} == {2}
    people = {"sd300", "sd301a", "sd302a"}
    assert len({file.subject for file in listing.files}) == (2 if layout in people else 12)


def test_the_databases_of_a_competition_have_fingers_of_their_own(tmp_path):
    touch(
        tmp_path,
        "Dbs/Db1_a/1_1.tif",
        "Dbs/Db2_a/1_1.tif",
        "Dbs/Db1_b/101_1.tif",
        "Dbs/Db1_a/10_2.tif",
        "Dbs/Db1_a/2_1.tif",
    )
    files = list_prints("fvc2002", tmp_path).files
    assert [file.finger for file in files] == ["db1_001", "db1_002", "db1_010", "db1_101", "db2_001"]
    assert [file.finger for file in parted(files, "validate", holdout=0.1, seed=0)] == ["db1_101"]
    assert len(parted(files, "train", holdout=0.1, seed=0)) == 4
    touch(tmp_path, "other/Dbs/DB3_A/7_1.TIF")
    assert [file.finger for file in list_prints("fvc2004", tmp_path / "other").files] == ["db3_007"]


def test_two_rollings_of_a_finger_are_its_two_prints(tmp_path):
    touch(tmp_path, "figs_0/f0001_01.png", "figs_0/s0001_01.png", "figs_1/f0002_01.png", "figs_0/f0001_01.txt")
    assert identities(tmp_path, "sd4") == {
        "figs_0/f0001_01.png": ("0001_01", "f"),
        "figs_0/s0001_01.png": ("0001_01", "s"),
        "figs_1/f0002_01.png": ("0002_01", "f"),
    }


def test_fingers_of_a_person_are_different_fingers_and_plain_thumbs_are_thumbs(tmp_path):
    base = "images/500/png"
    touch(tmp_path, f"{base}/roll/00001_roll_500_01.png", f"{base}/roll/00001_roll_500_02.png")
    touch(tmp_path, f"{base}/plain/00001_plain_500_11.png", f"{base}/plain/00001_plain_500_13.png")
    touch(tmp_path, "images/1000/png/roll/00001_roll_1000_01.png")
    assert identities(tmp_path, "sd300") == {
        f"{base}/roll/00001_roll_500_01.png": ("00001_01", "roll"),
        f"{base}/plain/00001_plain_500_11.png": ("00001_01", "plain"),
        f"{base}/roll/00001_roll_500_02.png": ("00001_02", "roll"),
    }
    notes = list_prints("sd300", tmp_path).notes
    assert notes[0].startswith("Not read: 1 images that do not follow the layout, such as images/1000/")
    assert notes[1] == "Not read: 1 images of several fingers, or of palms."


def test_a_finger_on_two_devices_is_one_finger(tmp_path):
    touch(tmp_path, *(f"images/challengers/{device}/roll/png/0001_{device}_roll_03.png" for device in "ABH"))
    assert set(identities(tmp_path, "sd302a").values()) == {("0001_03", device) for device in "ABH"}
    root = tmp_path / "sd301a"
    base = "images/friction-ridge"
    touch(
        root,
        f"{base}/dryrun-A/500/roll/png/0001_1_A_500_roll_03.png",
        f"{base}/dryrun-B/500/slap/png/0001_1_B_500_slap_13.png",
    )
    touch(root, f"{base}/dryrun-B/500/slap-segmented/png/0001_1_B_500_slap_03.png")
    touch(root, f"{base}/dryrun-B/500/palm/png/0001_1_B_500_palm_22.png")
    assert set(identities(root, "sd301a").values()) == {("0001_03", "A_roll_1"), ("0001_03", "B_slap_1")}


def test_nobody_is_in_training_and_validation_whatever_devices_are_kept(tmp_path):
    people = range(20)
    touch(
        tmp_path,
        *(
            f"images/challengers/{device}/roll/png/{person:04d}_{device}_roll_{finger:02d}.png"
            for person in people
            for device in ("AB" if person % 2 else "ABC")
            for finger in (1, 2)
        ),
    )
    files = list_prints("sd302a", tmp_path).files
    some = [file for file in files if file.impression == "C"]
    there = {file.subject for file in some}
    assert len(there) == 10
    for seed in range(5):
        train = {file.subject for file in parted(files, "train", holdout=0.4, seed=seed)}
        validate = {file.subject for file in parted(files, "validate", holdout=0.4, seed=seed)}
        assert train
        assert validate
        assert not train & validate
        assert {file.subject for file in parted(some, "validate", holdout=0.4, seed=seed)} == validate & there
    assert len(parted(files, "all", holdout=0.4, seed=0)) == len(files)


def test_two_files_of_one_print_are_refused_together(tmp_path):
    touch(tmp_path, "1_1.tif", "1_1.png", "2_1.TIF", "2_2.tif")
    with pytest.raises(DataError, match=r"1_1\.png and 1_1\.tif: both are print '1' of finger '1'"):
        list_prints("plain", tmp_path)


def test_a_folder_that_does_not_follow_the_layout_is_answered_with_an_example(tmp_path):
    touch(tmp_path, "picture.png")
    with pytest.raises(DataError, match=r"none of 1 images follows layout 'sd4', such as figs_0/f0001_01\.png"):
        list_prints("sd4", tmp_path)


def test_unreadable_files_are_named_in_one_message(tmp_path):
    write_layout(tmp_path, "plain", fingers=2, impressions=2, size=32)
    touch(tmp_path, "3_1.tif")
    content = (tmp_path / "1_1.tif").read_bytes()
    (tmp_path / "4_1.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as error:
        verify_prints(tmp_path, list_prints("plain", tmp_path).files)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("2 of 6 prints cannot be read:")
    assert "3_1.tif: the file is empty" in lines[1]
    assert "4_1.tif" in lines[2]


def test_the_truth_stands_beside_a_picture(tmp_path):
    write_layout(tmp_path, "plain", fingers=1, impressions=1, size=48, truth=True)
    with np.load(tmp_path / "1_1.truth.npz") as truth:
        assert sorted(truth.files) == ["cores", "deltas", "mask", "origins", "pattern", "period", "theta"]
        assert truth["mask"].shape == truth["theta"].shape == truth["period"].shape == (48, 48)
        assert truth["origins"].shape == (48, 48, 2)
    assert len(list_prints("plain", tmp_path).files) == 1


def test_a_layout_without_names_for_so_many_prints_says_so(tmp_path):
    with pytest.raises(DataError, match="impressions: 3, must be 1 to 2"):
        write_layout(tmp_path, "sd4", fingers=1, impressions=3)
    shutil.rmtree(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        list_prints("plain", tmp_path)
