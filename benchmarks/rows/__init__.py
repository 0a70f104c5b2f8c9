"""What is raced: a file for each kind of work, each with `rows(size) -> list[Row]`."""
