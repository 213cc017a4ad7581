"""All commands in the order in which people meet them; importing them imports no torch."""

import typer

from gradatim.cli import (
    align,
    analyze,
    classify,
    colorize,
    convert,
    demo,
    detect,
    evaluate,
    export,
    features,
    fuse,
    inspect,
    lineage,
    match,
    plan,
    report,
    run,
    status,
    sweep,
    systems,
    verify,
)

app = typer.Typer(
    name="gradatim",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Train composite vision models in stages, with proof of where every weight came from.\n\n"
        "Start with `gradatim demo`, then look at a plan: `gradatim plan maefuse/small`. "
        "A PLAN is a YAML file or SYSTEM/RECIPE; `gradatim systems` lists both."
    ),
)

for command in (
    demo.demo,
    systems.systems,
    plan.plan,
    run.run,
    sweep.sweep,
    status.status,
    report.report,
    verify.verify,
    inspect.inspect,
    convert.convert,
    lineage.lineage,
    evaluate.evaluate,
    fuse.fuse,
    classify.classify,
    detect.detect,
    colorize.colorize,
    align.align,
    match.match,
    export.export,
):
    app.command()(command)
app.add_typer(features.app, name="features")
app.add_typer(analyze.app, name="analyze")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        from gradatim.version import __version__

        typer.echo(__version__)
        raise typer.Exit
