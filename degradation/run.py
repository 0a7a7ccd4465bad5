"""Train one run, or a study: `python -m degradation.run -m model=plain,residual depth=20,56`."""

from degradation.commands.train import cli

if __name__ == "__main__":
    cli()
