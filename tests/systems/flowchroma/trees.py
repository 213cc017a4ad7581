"""Small trees of frames, lists and references for the tests of FlowChroma's data."""

from pictures import picture, save

HEADER = "video_name,prev_frame,current_frame,flow_forward_name,mask_name,ref1,ref2,ref3,ref4,ref5"


def video(folder, count=4, *, seed=0, size=(12, 16)):
    """Write frames `f0.png` and so on, each of its own; returns the folder."""
    for number in range(count):
        save(folder / f"f{number}.png", picture(seed + number, size))
    return folder


def listed(path, rows):
    """Write a list of (video, frame, references...); returns its path."""
    lines = [",".join([name, "-", frame, "x.flo", "x.pgm", *refs]) for name, frame, *refs in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def list_root(root, videos=("a", "b"), count=4, *, references=("r0.png", "r1.png"), seed=0):
    """A root with a list, its videos and a folder `pictures` of references; returns the root."""
    for number, name in enumerate(videos):
        video(root / name, count, seed=seed + 10 * number)
    for number, name in enumerate(references):
        save(root / "pictures" / name, picture(seed + 100 + number, (20, 18)))
    listed(root / "list.csv", [(name, f"f{i}.png", *references) for name in videos for i in reversed(range(count))])
    return root
