"""`gradatim lineage`: where every part's weights came from."""

from pathlib import Path

import typer

from gradatim.cli.output import JSON, show_json


def lineage(
    file: Path = typer.Argument(..., metavar="FILE|DIR", help="A file that gradatim wrote, or a run."),
    json: bool = JSON,
) -> None:
    """Show, for every part, the file or stage that it came from and each stage that trained it, with digests."""
    from gradatim.errors import WeightsError
    from gradatim.report.lineage import lineage_of

    found = lineage_of(file)
    if not found:
        raise WeightsError(f"{file}: gradatim did not write this file, so it tells no lineage; try `gradatim inspect`")
    if json:
        show_json({name: one.to_json() for name, one in found.items()})
        return
    for name, one in found.items():
        typer.echo(f"{name}  digest {one.digest}")
        for line in one.lines():
            typer.echo(f"  {line}")
