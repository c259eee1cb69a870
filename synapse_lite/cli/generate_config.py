"""`generate-config`: a documented configuration file."""

from pathlib import Path

import click

from synapse_lite.cli.explained import explained
from synapse_lite.config.sample import generate
from synapse_lite.errors import ConfigError


@explained
@click.command("generate-config")
@click.option("-H", "--server-name", required=True, help="Domain of the server's users and rooms.")
@click.option(
    "--data-dir",
    "--data-directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where the server keeps keys, secrets and media.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write, which must not exist; standard output when not given.",
)
@click.option(
    "--report-stats",
    type=click.Choice(["yes", "no"]),
    default="no",
    help="Accepted for compatibility: usage is never reported to anyone.",
)
@click.option("--open-private-ports", is_flag=True, help="Listen on all addresses, not only on local ones.")
@click.option("--enable-metrics", is_flag=True, help="Collect metrics.")
def generate_config(
    *,
    server_name: str,
    data_dir: Path,
    output: Path | None,
    report_stats: str,
    open_private_ports: bool,
    enable_metrics: bool,
) -> None:
    """Print a configuration with every option, its meaning and its default."""
    text = generate(
        server_name,
        data_dir=data_dir.resolve(),
        report_stats=report_stats == "yes",
        open_private_ports=open_private_ports,
        enable_metrics=enable_metrics,
    )
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{output} exists already") from None
