"""`gradatim verify`: whether a finished run kept what its guide promises."""

from pathlib import Path

import typer

from gradatim.cli.output import JSON, show, show_json


def verify(
    run: Path = typer.Argument(..., metavar="RUN", help="Folder of a finished run."),
    metric: str = typer.Option(
        None, "--metric", help="Of the system; default: the last stage's, or the first of which more is better."
    ),
    device: str = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    json: bool = JSON,
) -> None:
    """Answer four questions about a run with figures, on the validation data of its last stage.

    Is the loss below that of random weights on the same batches? Are its terms within 20 % of those of the weights that
    the run started from? Is the metric at least theirs? Is everything finite? Exit code 1 where an answer is no.

    Example: gradatim verify runs/multigriddet-1 --metric map50
    """
    from gradatim.engine.verify import verify_run
    from gradatim.report.tables import rows_table

    answers = verify_run(run, metric=metric, device=device)
    failed = [answer for answer in answers if answer.holds is False]
    if json:
        show_json(
            {
                "holds": not failed,
                "answers": [
                    {"question": a.question, "holds": a.holds, "found": a.found, "figures": dict(a.figures)}
                    for a in answers
                ],
            }
        )
    else:
        words = {True: "yes", False: "NO", None: "cannot tell"}
        rows = [(answer.question, words[answer.holds], answer.found) for answer in answers]
        show(rows_table(str(run), ("question", "answer", "figures"), rows))
    if failed:
        raise typer.Exit(1)
