"""The command line: its commands, and errors without a traceback."""

import pytest

from pouta_lib import cli


def test_it_prints_errors_without_a_traceback(bolt, capsys):
    assert cli.main(["run", "--dataset", "mvtec", "--category", "nail"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("pouta: expected a category out of ['bolt'], found 'nail'")
    assert "Traceback" not in text


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("study", "run", "data"))
