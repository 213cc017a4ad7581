"""`gradatim demo`: the whole way in about a minute, on scenes that are made on the spot."""

from pathlib import Path

import typer

from gradatim.cli.output import show


def demo(
    folder: Path = typer.Argument(Path("demo"), help="Where scenes, run and pictures go."),
    pairs: int = typer.Option(20, "--pairs", min=5, help="Number of scenes."),
    set_: list[str] = typer.Option([], "--set", metavar="PATH=VALUE", help="Change a value of the plan. Repeatable."),
) -> None:
    """Make infrared-visible scenes, train MaeFuse through all its stages on them, fuse held-out ones and measure.

    Uses no data and no network, and goes on where it was interrupted. The plan is the recipe maefuse/demo.
    """
    from gradatim.cli.display import RunDisplay
    from gradatim.cli.evaluate import measured, show_means
    from gradatim.cli.fusing import fuse_jobs, held_out_jobs
    from gradatim.engine.explain import explain
    from gradatim.engine.model import load_run
    from gradatim.engine.run import run
    from gradatim.find import read_plan_document
    from gradatim.plan import override
    from gradatim.report.html import write_report
    from gradatim.report.pictures import save_sheet
    from gradatim.report.tables import plan_table
    from gradatim.systems.maefuse.synthetic import write_scenes

    scenes, out = folder / "scenes", folder / "run"
    if len(list((scenes / "ir").glob("*.png"))) != pairs:
        typer.echo(f"making {pairs} pairs of scenes in {scenes}", err=True)
        write_scenes(scenes, pairs, size=(192, 256))
    document = override(read_plan_document("maefuse/demo"), [f"defaults.data.root={scenes}", *set_])
    show(plan_table(explain(document)))
    display = RunDisplay()
    try:
        run(document, out, observe=display.observe, tick=display.tick)
    finally:
        display.close()
    model = load_run(out)
    jobs = held_out_jobs(out, folder / "fused")
    fuse_jobs(model, jobs, device="cpu", batch_size=64)
    show_means(measured(folder / "fused", [scenes]))
    sheet = folder / "pictures.png"
    save_sheet(sheet, [(job.pair.visible, job.pair.infrared, job.output) for job in jobs[:4]])
    report = write_report(out)
    typer.echo(f"pictures: {sheet}\nmodel:    {out / 'model.safetensors'}\nreport:   {report}")
    typer.echo(f"next:     gradatim lineage {out}    gradatim status {out}    gradatim plan maefuse/paper")
