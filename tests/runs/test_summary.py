"""The one table of final errors."""

from degradation.runs import summary

NETWORK = {"data": "cifar10", "arm": "residual", "depth": 110, "shortcut": "identity"}
RECIPE = {"iterations": 64_000, "variant": "", "protocol": "p", "study": "figure6"}
RUN = NETWORK | RECIPE | {"train_error": 0.1}
SEEDS = [RUN | {"test_error": error} for error in (6.45, 6.77)]


def lines(*rows: dict) -> list[str]:
    """The table without its head, each run of spaces as one."""
    return [" ".join(line.split()) for line in summary.as_text(rows).splitlines()[1:]]


def test_the_table_has_mean_std_n_and_the_papers_number() -> None:
    assert lines(*SEEDS) == ["cifar10 residual 110 2 0.10 ± 0.00 0.06 6.61 ± 0.23 6.43"]
    assert summary.as_text([]) == ""


def test_two_recipes_are_not_averaged_and_a_single_seed_has_no_spread() -> None:
    other = SEEDS[1] | {"protocol": "another", "study": "short"}
    assert lines(SEEDS[0], other) == [
        "cifar10 residual 110 short 1 0.10 0.06 6.77 6.43",
        "cifar10 residual 110 figure6 1 0.10 0.06 6.45 6.43",
    ]
    other |= {"study": SEEDS[0]["study"]}
    assert [line.split()[3] for line in lines(SEEDS[0], other)] == ["another", SEEDS[0]["protocol"]]


def test_a_variant_has_its_name_and_no_number_of_the_papers() -> None:
    varied = SEEDS[0] | {"variant": "alpha=0.3"}
    assert lines(varied) == ["cifar10 residual 110 alpha=0.3 1 0.10 – 6.45 –"]
