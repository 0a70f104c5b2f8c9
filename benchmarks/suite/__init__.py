"""The race: what a row is, how its contestants are compared and timed, and how that is reported."""
