"""`gradatim inspect`: what a file of weights holds."""

from pathlib import Path

import typer

from gradatim.cli.output import JSON, show, show_json


def inspect(
    file: Path = typer.Argument(..., metavar="FILE", help="A file of weights of any format."),
    system: str = typer.Option(None, "--system", help="Also say which of this system's layouts know its names."),
    arrays: bool = typer.Option(False, "--arrays", help="List every array."),
    json: bool = JSON,
) -> None:
    """Show format, arrays, prefixes, layout and header of a file; nothing in it is executed."""
    from gradatim.find import find_system, system_names
    from gradatim.report.tables import counted, rows_table
    from gradatim.weights import header_of, read_weights, recognised

    weights = read_weights(file)
    names = [system] if system else list(system_names())
    layouts = [f"{name}/{one}" for name in names for one in recognised(weights, find_system(name).layouts)]
    groups: dict[str, tuple[int, int]] = {}
    for name, array in weights.arrays.items():
        count, values = groups.get(name.partition(".")[0], (0, 0))
        groups[name.partition(".")[0]] = (count + 1, values + array.numel())
    told = {
        "file": str(file),
        "format": weights.format,
        "arrays": len(weights.arrays),
        "values": sum(array.numel() for array in weights.arrays.values()),
        "notes": list(weights.notes),
        "layouts": sorted(set(layouts)),
        "header": header_of(weights),
        "groups": {name: {"arrays": count, "values": values} for name, (count, values) in groups.items()},
    }
    listed = {
        name: [str(array.dtype).removeprefix("torch."), list(array.shape)] for name, array in weights.arrays.items()
    }
    if json:
        show_json({**told, "names": listed})
        return
    title = f"{file}: {weights.format}, {told['arrays']} arrays, {counted(float(str(told['values'])))} values"
    rows = [(name, count, counted(values)) for name, (count, values) in groups.items()]
    if arrays:
        rows = [(name, kind, str(shape)) for name, (kind, shape) in listed.items()]  # type: ignore[misc]
    show(rows_table(title, ("name", "type" if arrays else "arrays", "shape" if arrays else "values"), rows))
    for note in weights.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"layout: {', '.join(sorted(set(layouts))) or 'none that is known'}")
