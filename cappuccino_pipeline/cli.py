"""The command line: demo, doctor, ui, trade. Everything heavy is imported inside a command, so that --help is quick."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cappuccino_ml.core.errors import CappuccinoError

if TYPE_CHECKING:
    from cappuccino_pipeline.configuration import Configuration

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Hourly crypto bars to a trading policy that has earned its place, on a paper account. Never real money.",
)


@app.command()
def demo() -> None:
    """Run the whole chain on simulated bars, without network or keys."""
    from cappuccino_pipeline import demo as chain  # noqa: PLC0415

    chain.main()


@app.command()
def doctor() -> None:
    """Ten lines on versions, state, data, models, trader and the last run."""
    from cappuccino_pipeline.doctor import report  # noqa: PLC0415

    for line in report():
        typer.echo(line)


@app.command()
def ui(
    dagster_port: Annotated[int, typer.Option(help="port of Dagster's page; 0 takes any free one")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="port of MLflow's page; 0 takes any free one")] = 5000,
) -> None:
    """Serve Dagster and MLflow on 127.0.0.1 until Ctrl-C."""
    from cappuccino_pipeline.ui import serve  # noqa: PLC0415

    serve(dagster_port=dagster_port, mlflow_port=mlflow_port)


trade = typer.Typer(invoke_without_command=True)
app.add_typer(trade, name="trade")


@trade.callback()
def trade_here(context: typer.Context) -> None:
    """Trade on paper, bar by bar, until Ctrl-C or TERM. With one of the commands below: look after a trader apart."""
    if context.invoked_subcommand is None:
        from cappuccino_pipeline.trader import run  # noqa: PLC0415

        run()


@trade.command()
def start() -> None:
    """Start a trader that outlives this shell; one that runs already is left alone."""
    from cappuccino_pipeline.trader import start as start_trader  # noqa: PLC0415

    typer.echo(start_trader(_configuration()))


@trade.command()
def stop() -> None:
    """Stop it: nothing more is sent, open orders are settled, the books are compared."""
    from cappuccino_pipeline.trader import stop as stop_trader  # noqa: PLC0415

    typer.echo(stop_trader(_configuration()))


@trade.command()
def status() -> None:
    """Its health, and what a person should look at."""
    from cappuccino_pipeline.trader import status as show  # noqa: PLC0415

    for line in show(_configuration()):
        typer.echo(line)


@trade.command()
def release(
    who: Annotated[str, typer.Option(help="your name")],
    why: Annotated[str, typer.Option(help="what you looked at, and why it may go on")],
) -> None:
    """Lift a halt, after a person has looked. The trader must be stopped; the broker's book is taken as ours."""
    from cappuccino_pipeline.trader import release as release_account  # noqa: PLC0415

    typer.echo(release_account(_configuration(), who=who, why=why))


def _configuration() -> "Configuration":
    from cappuccino_pipeline.configuration import Configuration  # noqa: PLC0415

    return Configuration.read()


def main() -> None:
    """Entry point. An expected error is one sentence on stderr and exit code 1."""
    try:
        app()
    except CappuccinoError as error:
        typer.echo(f"cappuccino: {error}", err=True)
        sys.exit(1)
