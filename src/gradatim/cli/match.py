"""`gradatim match`: compare fingerprints with a trained model, and show why."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gradatim.cli.convert import settings_from
from gradatim.cli.output import JSON, show, show_json, stderr

if TYPE_CHECKING:
    from gradatim.systems.ifvit.predict import Comparer, Comparison, Print, Ranked

FAR = 1e-3


def match(
    model: Path = typer.Argument(
        ..., metavar="RUN|FILE", help="A run, a file that gradatim wrote, or a checkpoint of the original."
    ),
    prints: list[Path] = typer.Argument(
        ..., metavar="A B | PROBE...", help="Two prints; with --gallery, prints to look for."
    ),
    out: Path = typer.Option(
        None, "--out", "-o", help="Picture of both prints with their correspondences; a folder with --gallery."
    ),
    gallery: Path | None = typer.Option(None, "--gallery", help="Folder of prints, at any depth, that are ranked."),
    top: int = typer.Option(5, "--top", min=1, help="Ranks that are compared pair by pair, and told."),
    far: float = typer.Option(
        None,
        "--far",
        min=0,
        max=1,
        help="Share of imposters that may be accepted, by the run's own validation prints, which `gradatim evaluate` "
        f"measures; by default {FAR:g}, or the least that these can tell.",
    ),
    threshold: float = typer.Option(None, "--threshold", min=-1, max=1, help="Least score of a match, instead."),
    dense: Path = typer.Option(
        None,
        "--dense",
        metavar="RUN|FILE",
        help="Model that registers prints; default: the run's dense stage, or the model itself.",
    ),
    turn: float = typer.Option(60, "--turn", min=0, max=180, help="Most degrees that a print may be turned by."),
    no_alignment: bool = typer.Option(
        False, "--no-alignment", help="Compare prints as they lie, since they lie on one another already."
    ),
    fingernet: Path = typer.Option(
        None, "--fingernet", metavar="FILE", help="Weights of FingerNet, which then makes ridges clear."
    ),
    device: str = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    settings: list[str] = typer.Option(
        [], "--model", metavar="NAME=VALUE", help="A setting that a foreign checkpoint does not tell. Repeatable."
    ),
    json: bool = JSON,
) -> None:
    """Register two prints, score them as a whole and around the middle of what both show, and decide.

    Example: gradatim match runs/ifvit-1 a.png b.png -o why.png, or, to look for a print among many:
    gradatim match runs/ifvit-1 --gallery prints/ probe.png
    """
    from gradatim.cli.matching import comparer
    from gradatim.data.image import IMAGE_SUFFIXES

    if gallery is None and len(prints) != 2:
        raise typer.BadParameter(f"name two prints, or --gallery with prints to look for; found {len(prints)}")
    if gallery is None and out is not None and out.suffix.lower() not in IMAGE_SUFFIXES:
        raise typer.BadParameter(f"--out {out}: name a picture, such as {out.with_suffix('.png')}")
    limit = _threshold(model, far, threshold)
    one = comparer(
        model, settings_from(settings), dense=dense, turn=turn, still=no_alignment, device=device, fingernet=fingernet
    )
    if gallery is None:
        _pair(one, prints, limit, out, json=json)
    else:
        _search(one, prints, gallery, top, limit, out, json=json)


def _threshold(model: Path, far: float | None, given: float | None) -> float | None:
    """The least score of a match; None where nothing tells one."""
    from gradatim.cli.matching import threshold_at

    if given is not None:
        if far is not None:
            raise typer.BadParameter("--threshold and --far both say where matches begin; give one")
        return given
    found = threshold_at(model, far, FAR)
    if found is None and far is not None:
        raise typer.BadParameter(f"--far: nobody knows scores of imposters yet; first: gradatim evaluate {model}")
    return found


def _verdict(score: float, limit: float | None) -> str:
    return "" if limit is None else "match" if score >= limit else "no match"


def _told(found: "Comparison", limit: float | None) -> dict[str, object]:
    aligned = found.alignment
    return {
        "score": found.score,
        "whole": found.whole,
        "region": found.region,
        "decision": _verdict(found.score, limit) or None,
        "threshold": limit,
        "turn": aligned.angle if aligned else None,
        "inliers": aligned.inliers if aligned else 0,
        "matches": aligned.matches if aligned else 0,
        "overlap": found.overlap,
        "correspondences": len(found.points),
    }


def _pair(one: "Comparer", prints: list[Path], limit: float | None, out: Path | None, *, json: bool) -> None:
    first, second = (one.read(path) for path in prints)
    found = one.compare(first, second)
    if out is not None:
        _draw(out, first, second, found, _verdict(found.score, limit))
    if json:
        show_json({**_told(found, limit), "picture": str(out) if out else None})
        return
    aligned = found.alignment
    verdict = _verdict(found.score, limit)
    typer.echo(
        f"{verdict + ': ' if verdict else ''}score {found.score:.4f} (whole {found.whole:.4f}, region "
        f"{found.region:.4f}" + (f"; a match from {limit:.4f} on)" if limit is not None else ")")
    )
    typer.echo(
        f"{aligned.inliers} of {aligned.matches} matches agree, {len(found.points)} correspondences, "
        f"{found.overlap:.0%} of the second print overlaps"
        if aligned
        else "compared as they lie" + ("" if one.registrar.still else "; no motion that matches agree on")
    )
    if limit is None:
        typer.echo("no decision: `gradatim evaluate RUN` measures what a score is worth, or say --threshold", err=True)
    if out is not None:
        typer.echo(f"picture: {out}")


def _search(
    one: "Comparer",
    probes: list[Path],
    gallery: Path,
    top: int,
    limit: float | None,
    out: Path | None,
    *,
    json: bool,
) -> None:
    from dataclasses import replace

    import numpy as np
    from rich.progress import Progress

    from gradatim.systems.ifvit.predict import search_gallery

    paths, unreadable = _prints_in(gallery), dict[str, str]()
    found: dict[str, list[Ranked]] = {}
    with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("matching", total=len(paths) + top * len(probes))
        read, templates = [], []
        for path in paths:
            entry = _readable(one, path, unreadable)
            if entry is not None:
                read.append(replace(entry, name=path.relative_to(gallery).as_posix()))
                templates.append(one.template(entry))
            progress.advance(task)
        if not read:
            raise typer.BadParameter(f"{gallery}: holds no print that can be read")
        for path in probes:
            probe = one.read(path)
            found[str(path)] = search_gallery(one, probe, read, np.stack(templates), top=top)[:top]
            progress.advance(task, top)
            best = found[str(path)][0]
            if out is not None and best.comparison is not None:
                verdict = _verdict(best.comparison.score, limit)
                _draw(out / f"{path.stem}.png", probe, read[best.number], best.comparison, verdict)
    _show_ranks(found, limit, unreadable, json=json)


def _show_ranks(
    found: "dict[str, list[Ranked]]", limit: float | None, unreadable: dict[str, str], *, json: bool
) -> None:
    from gradatim.report.tables import rows_table

    if json:
        ranks = {
            probe: [
                {
                    "print": one.name,
                    "template": one.template,
                    **(_told(one.comparison, limit) if one.comparison else {}),
                }
                for one in ranked
            ]
            for probe, ranked in found.items()
        }
        show_json({"probes": ranks, "unreadable": unreadable})
        return
    for probe, ranked in found.items():
        rows = []
        for place, one in enumerate(ranked, 1):
            compared = one.comparison
            assert compared is not None
            inliers = compared.alignment.inliers if compared.alignment else 0
            rows.append(
                (
                    place,
                    one.name,
                    f"{compared.score:.4f}",
                    _verdict(compared.score, limit),
                    inliers,
                    f"{one.template:.4f}",
                )
            )
        show(rows_table(probe, ("rank", "print", "score", "", "matches that agree", "template"), rows))
    for what in unreadable.values():
        typer.echo(f"left out: {what}", err=True)


def _prints_in(folder: Path) -> list[Path]:
    from gradatim.data.image import IMAGE_SUFFIXES
    from gradatim.errors import DataError

    if not folder.is_dir():
        raise DataError(f"{folder}: no folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{folder}: holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def _readable(one: "Comparer", path: Path, unreadable: dict[str, str]) -> "Print | None":
    from gradatim.errors import DataError

    try:
        return one.read(path)
    except DataError as error:
        unreadable[str(path)] = str(error)
        return None


def _draw(out: Path, first: "Print", second: "Print", found: "Comparison", verdict: str) -> None:
    from gradatim.data.image import write_image
    from gradatim.systems.ifvit.drawing import draw_match

    write_image(out, draw_match(first, second, found, verdict=verdict))
