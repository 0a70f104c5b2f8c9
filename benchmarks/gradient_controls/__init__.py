"""Functions whose derivatives are known to be right, and functions whose derivatives are known to be wrong."""
