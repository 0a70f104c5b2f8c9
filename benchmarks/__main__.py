"""python -m benchmarks: dlcore beside its peers, in one process, on the same arrays, in turns."""

from benchmarks.suite.command import main

if __name__ == "__main__":
    main()
