"""The one table of final errors."""

from degradation.runs import summary

SEEDS = [
    {
        "data": "cifar10",
        "arm": "residual",
        "depth": 110,
        "shortcut": "identity",
        "variant": "",
        "protocol": "p",
        "study": "figure6",
        "train_error": 0.1,
        "test_error": error,
    }
    for error in (6.45, 6.77)
]


def test_the_table_has_mean_std_n_and_the_papers_number() -> None:
    (line,) = summary.summarize(SEEDS)
    assert (line.network, line.n) == ("cifar10 residual 110", 2)
    error = line.errors["test_error"]
    assert str(error) == "6.61 ± 0.23"
    assert error.paper == 6.43
    text = summary.as_text([line]).splitlines()[1]
    assert " ".join(text.split()) == "cifar10 residual 110 2 0.10 ± 0.00 0.06 6.61 ± 0.23 6.43"
    assert summary.as_text([]) == ""


def test_two_recipes_are_not_averaged_and_a_single_seed_has_no_spread() -> None:
    other = SEEDS[1] | {"protocol": "another", "study": "short"}
    lines = summary.summarize([SEEDS[0], other])
    assert [line.network.split()[-1] for line in lines] == ["short", "figure6"]
    assert [str(line.errors["test_error"]) for line in lines] == ["6.77", "6.45"]


def test_a_variant_has_its_name_and_no_number_of_the_papers() -> None:
    (line,) = summary.summarize([SEEDS[0] | {"variant": "alpha=0.3"}])
    assert line.network == "cifar10 residual 110 alpha=0.3"
    assert line.errors["test_error"].paper is None


def test_the_papers_table_in_markdown() -> None:
    assert "| cifar10 residual-110 | 0.06 | 6.43 |" in summary.paper_markdown().splitlines()
