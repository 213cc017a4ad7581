"""Lineage: written as JSON, read back equal, told line by line."""

import json

from gradatim.runs import Lineage, Origin, Passage


def lineage():
    first = Lineage(
        part="head",
        origin=Origin(kind="checkpoint", digest="d0", detail={"file": "/a.pth", "layout": "mae", "revision": None}),
        passages=(Passage(run="runs/a", stage="one", key="k1", steps=3, digest="d1"),),
    )
    return Lineage(part="body", origin=Origin(kind="run", digest="d1", detail={"run": "runs/a"}), before=first)


def test_a_lineage_reads_back_equal_from_json():
    assert Lineage.from_json(json.loads(json.dumps(lineage().to_json()))) == lineage()


def test_each_stage_adds_a_passage_and_its_digest_is_the_parts():
    passage = Passage(run="runs/b", stage="two", key="k2", steps=5, digest="d2")

    after = lineage().trained(passage)

    assert (lineage().digest, after.digest, after.to_json()["digest"]) == ("d1", "d2", "d2")
    assert after.passages == (passage,)
    assert after.before == lineage().before


def test_the_oldest_stands_first():
    assert lineage().lines() == [
        "checkpoint: file /a.pth, layout mae  digest d0",
        "-> stage one of runs/a: 3 steps, key k1  digest d1",
        "run: run runs/a  digest d1",
    ]
    fresh = Lineage(part="x", origin=Origin(kind="fresh", digest="d", detail={"seed": 0}))
    assert fresh.lines() == ["fresh: seed 0  digest d"]
