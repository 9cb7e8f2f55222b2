"""The command line. Everything heavy is imported inside a command, so that --help is quick."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    """Run the whole chain: by default on simulated bars, without network or keys."""
    from cappuccino_pipeline import demo as chain  # noqa: PLC0415

    chain.main()


@app.command()
def doctor() -> None:
    """Ten lines on versions, state, data, models, trader and the last run."""
    from cappuccino_pipeline.doctor import report  # noqa: PLC0415

    for line in report():
        typer.echo(line)


_EXPERIMENT = typer.Argument(help="JSON file; its names are in docs/experiments.md", dir_okay=False)
_DEVICE = typer.Option(help="auto, cpu or cuda; auto takes the GPU where there is one")


@app.command()
def pretrain(
    experiment: Annotated[Path, _EXPERIMENT], device: Annotated[Literal["auto", "cpu", "cuda"], _DEVICE] = "auto"
) -> None:
    """Pre-train one encoder by hand on the current data set."""
    from cappuccino_pipeline import experiments  # noqa: PLC0415
    from cappuccino_pipeline.configuration import Configuration  # noqa: PLC0415
    from cappuccino_pipeline.resources import Cappuccino  # noqa: PLC0415

    experiments.pretrain(Cappuccino(Configuration.read()), experiment, device=device)


@app.command()
def train(
    experiment: Annotated[Path, _EXPERIMENT], device: Annotated[Literal["auto", "cpu", "cuda"], _DEVICE] = "auto"
) -> None:
    """Train one agent by hand on the current data set, and measure it on later rows."""
    from cappuccino_pipeline import experiments  # noqa: PLC0415
    from cappuccino_pipeline.configuration import Configuration  # noqa: PLC0415
    from cappuccino_pipeline.resources import Cappuccino  # noqa: PLC0415

    experiments.train(Cappuccino(Configuration.read()), experiment, device=device)


@app.command()
def status(
    page: Annotated[Path | None, typer.Option(help="also write the page as this HTML file")] = None,
) -> None:
    """Where we stand, on one page: data, encoder, study, verdict, aliases, paper session, alarms, next runs."""
    from rich.console import Console  # noqa: PLC0415

    from cappuccino_pipeline import status as view  # noqa: PLC0415
    from cappuccino_pipeline.resources import this_process  # noqa: PLC0415

    cappuccino = this_process()
    known = view.standing(cappuccino)
    Console(highlight=False).print(view.terminal(cappuccino, known))
    if page is not None:
        typer.echo(f"page: {view.page(cappuccino, known, page)}")


@app.command()
def monitor(
    once: Annotated[bool, typer.Option("--once", help="show it once and end, for scripts")] = False,
    page: Annotated[Path | None, typer.Option(help="keep this HTML file up to date instead; leave it open")] = None,
    every: Annotated[float, typer.Option(min=0.5, help="seconds between two looks")] = 2.0,
) -> None:
    """Watch study, processes, machine, trader, bars and alarms live, until Ctrl-C; works over ssh."""
    from rich.console import Console  # noqa: PLC0415

    from cappuccino_pipeline.monitor import Monitor, watch  # noqa: PLC0415
    from cappuccino_pipeline.resources import this_process  # noqa: PLC0415

    with suppress(KeyboardInterrupt):
        watch(Monitor(this_process()), Console(highlight=False), once=once, every_s=every, page=page)


@app.command()
def clean(
    older_than: Annotated[float, typer.Option(min=0, help="days since anything in a folder was touched")] = 30.0,
    delete: Annotated[bool, typer.Option("--delete", help="delete what is listed")] = False,
) -> None:
    """List artefacts that nothing current refers to; delete them only if asked to."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    from cappuccino_pipeline.clean import remove, stale_folders  # noqa: PLC0415
    from cappuccino_pipeline.configuration import Configuration  # noqa: PLC0415

    now = datetime.now(UTC)
    stale = stale_folders(Configuration.read(), older_than=timedelta(days=older_than), now=now)
    for one in stale:
        typer.echo(f"{one.touched:%Y-%m-%d}  {one.size / 1e6:8,.1f} MB  {one.folder}")
    size = sum(one.size for one in stale) / 1e6
    if delete:
        typer.echo(f"{len(stale)} folders deleted, {remove(stale) / 1e6:,.1f} MB freed")
    else:
        typer.echo(f"{len(stale)} folders, {size:,.1f} MB; nothing was deleted, --delete deletes them")


@app.command()
def explain(order: Annotated[str, typer.Argument(help="client order id, such as cap-0123...")]) -> None:
    """Follow an order back to its bar, features, model, verdict and data."""
    from cappuccino_pipeline.explain import explain as lines_on  # noqa: PLC0415
    from cappuccino_pipeline.resources import this_process  # noqa: PLC0415

    for line in lines_on(this_process(), order):
        typer.echo(line)


@app.command()
def ui(
    dagster_port: Annotated[int, typer.Option(help="port of Dagster's page; 0 takes any free one")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="port of MLflow's page; 0 takes any free one")] = 5000,
    host: Annotated[str, typer.Option(help="address to listen on; neither page has a login")] = "127.0.0.1",
) -> None:
    """Serve Dagster and MLflow until Ctrl-C, on this machine only unless --host says otherwise."""
    from cappuccino_pipeline.ui import serve  # noqa: PLC0415

    serve(dagster_port=dagster_port, mlflow_port=mlflow_port, host=host)


trade = typer.Typer(invoke_without_command=True)
app.add_typer(trade, name="trade")


@trade.callback()
def trade_here(context: typer.Context) -> None:
    """Trade on paper, bar by bar, until Ctrl-C or TERM. With one of the commands below: look after a trader apart."""
    if context.invoked_subcommand is None:
        from cappuccino_pipeline.trader import run  # noqa: PLC0415

        run()


@trade.command("start")
def trade_start() -> None:
    """Start a trader that outlives this shell; one that runs already is left alone."""
    from cappuccino_pipeline.trader import start as start_trader  # noqa: PLC0415

    typer.echo(start_trader(_configuration()))


@trade.command("stop")
def trade_stop() -> None:
    """Stop it: nothing more is sent, open orders are settled, the books are compared."""
    from cappuccino_pipeline.trader import stop as stop_trader  # noqa: PLC0415

    typer.echo(stop_trader(_configuration()))


@trade.command("status")
def trade_status() -> None:
    """Its health, and what a person should look at."""
    from cappuccino_pipeline.trader import status as show  # noqa: PLC0415

    for line in show(_configuration()):
        typer.echo(line)


@trade.command("restrict")
def trade_restrict(
    who: Annotated[str, typer.Option(help="your name")],
    why: Annotated[str, typer.Option(help="what it is stopped for")],
    everything: Annotated[bool, typer.Option(help="exits, too: nothing at all is sent")] = False,
) -> None:
    """Allow exits only, until a person releases it. The trader must be stopped, and started again after this."""
    from cappuccino_pipeline.trader import restrict as restrict_account  # noqa: PLC0415

    typer.echo(restrict_account(_configuration(), entries_only=not everything, who=who, why=why))


@trade.command("release")
def trade_release(
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
