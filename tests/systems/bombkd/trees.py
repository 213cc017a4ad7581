"""Tiny trees of each data set's layout, with real little videos."""

import json
from pathlib import Path

import numpy as np

from clips import numbered_clip, write_numbered
from gradatim.data.image import write_image


def texts(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def videos(root: Path, *names: str, frames: int = 6) -> None:
    for name in names:
        write_numbered(root / name, frames)


def ucf101(root: Path) -> Path:
    names = [f"{c}/v_{c}_g{g:02d}_c{n:02d}.avi" for c in ("Archery", "YoYo") for g in range(8, 12) for n in (1, 2)]
    videos(root, *names, "Archery/v_Archery_g01_c01.avi")
    (root / names[-1]).unlink()
    videos(root, names[-1].replace(".avi", ".mp4"))
    lines = [f"{name} {1 if name.startswith('A') else 2}" for name in names]
    return texts(
        root,
        {
            "ucfTrainTestlist/classInd.txt": "1 Archery\n2 YoYo\n",
            "ucfTrainTestlist/trainlist01.txt": "\n".join(lines),
            "ucfTrainTestlist/trainlist02.txt": lines[0],
            "ucfTrainTestlist/testlist01.txt": "Archery/v_Archery_g01_c01.avi\n",
        },
    )


def hmdb51(root: Path) -> Path:
    videos(root, "train/run_1.mp4", "train/eat_1.mp4", "test/eat_9.mp4", "test/run_9.mp4", "validation/wave_1.mp4")
    head = "video_id,file_name,label\n"
    return texts(
        root,
        {
            "train/metadata.csv": head + 'v1,run_1.mp4,run\nv2,eat_1.mp4,"eat"\n',
            "test/metadata.csv": head + "v1,eat_9.mp4,eat\nv2,run_9.mp4,run\n",
            "validation/metadata.csv": "file_name,label\nwave_1.mp4,wave\n",
        },
    )


def ssv2(root: Path) -> Path:
    folder = "20bn-something-something-v2"
    videos(root, f"{folder}/11.webm", f"{folder}/12.mp4", f"{folder}/21.webm", f"{folder}/31.webm", frames=20)
    train = [
        {"id": "11", "template": "Moving [part] of [something]"},
        {"id": "12", "template": "Moving [Something]  up"},
    ]
    return texts(
        root,
        {
            "labels/labels.json": json.dumps({"Moving part of something": "0", "Moving something up": "1"}),
            "labels/train.json": json.dumps(train),
            "labels/validation.json": json.dumps([{"id": "21", "template": "Moving [something] up"}]),
            "labels/test.json": json.dumps([{"id": "31"}]),
            "labels/test-answers.csv": "31;Moving part of something\n",
        },
    )


def diving48(root: Path) -> Path:
    videos(root, "rgb/x_1.mp4", "rgb/y_2.webm", "rgb/z_3.mp4", frames=12)
    train = [
        {"vid_name": "x_1", "label": 5, "start_frame": 0, "end_frame": 12},
        {"vid_name": "y_2", "label": 47, "start_frame": 3, "end_frame": 7},
    ]
    vocabulary = [["Back", "15som", "05Twis", "FREE"]] * 48
    test = [{"vid_name": "z_3", "label": 0, "start_frame": 0, "end_frame": 70}]
    return texts(
        root,
        {
            "Diving48_V2_train.json": json.dumps(train),
            "Diving48_V2_test.json": json.dumps(test),
            "Diving48_vocab.json": json.dumps(vocabulary),
        },
    )


def breakfast(root: Path) -> Path:
    dishes = ["cereals", "coffee", "milk", "juice", "friedegg", "salat", "pancake", "scrambledegg", "sandwich", "tea"]
    videos(root, *(f"P03/cam01/P03_{dish}.avi" for dish in dishes), "P03/webcam01/P03_tea.avi")
    videos(root, "P06/cam01/P06_x.avi", "P42/webcam02/P42_tea.avi", "P03/stereo/P03_tea_ch0.avi")
    return texts(root, {"P06/cam01/P06_x.avi.labels": "\nfruit salad\n", "P03/cam01/P03_tea.avi.labels": "1-30 SIL\n"})


def uav(root: Path) -> Path:
    videos(root, "all_rgb/P000S00G10A000R0_1.avi", "all_rgb/P001S00G10A002R0_1.mp4", "all_rgb/P002S00G10A001R0_1.webm")
    people = {"Cross-Subject-v1": {"train": [0, 2], "test": [1]}, "Cross-Subject-v2": {"train": [1], "test": [0, 2]}}
    return texts(
        root,
        {"classes_map.csv": "A000,drink\nA002,brush hair\nA001,eat, snacks\n", "split.json": json.dumps(people)},
    )


def shanghaitech(root: Path) -> Path:
    inner = root / "ShanghaiTech"
    videos(inner, "training/videos/01_001.avi", "training/videos/01_002.avi")
    for clip, mask in {"01_0014": [0, 0, 1, 1, 0, 0], "01_0015": [0] * 5}.items():
        for number, picture in enumerate(numbered_clip(len(mask))):
            write_image(inner / "testing/frames" / clip / f"{number:03d}.png", picture)
        (inner / "test_frame_mask").mkdir(exist_ok=True)
        np.save(inner / "test_frame_mask" / f"{clip}.npy", np.array(mask, np.uint8))
    return root


def ucf_crime(root: Path) -> Path:
    normal, crime = "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4", "Abuse/Abuse028_x264.mp4"
    train = ["Arson/Arson001_x264.mp4", "Training_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4"]
    videos(root / "Videos", normal, crime, *train, frames=10)
    times = "Abuse028_x264.mp4  Abuse  2  4  8  9\nNormal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1\n"
    return texts(
        root,
        {
            "Anomaly_Train.txt": "\n".join(train),
            "Anomaly_Test.txt": f"{crime}\n{normal}\n",
            "Temporal_Anomaly_Annotation_for_Testing_Videos.txt": times,
        },
    )


def folders(root: Path) -> Path:
    for split, count in (("train", 4), ("val", 2)):
        videos(root, *(f"{split}/{name}/{n}.mp4" for name in ("walk", "jump") for n in range(count)))
    write_image(root / "train/jump/frames/0.png", numbered_clip(1)[0])
    return root


TREES = {
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "ssv2": ssv2,
    "diving48": diving48,
    "breakfast": breakfast,
    "uav": uav,
    "shanghaitech": shanghaitech,
    "ucf-crime": ucf_crime,
    "folders": folders,
}
