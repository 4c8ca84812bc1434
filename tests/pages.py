"""Pages of the documentation that show what a command prints."""


def assert_shows(page, main, tables, command, capsys):
    """`main` prints what `tables` gives, and the page has it."""
    main([])
    printed = capsys.readouterr().out
    assert printed == tables() + "\n"
    assert f"\n{printed}\n" in page.read_text(), f"replace its tables by what python -m {command} prints"
