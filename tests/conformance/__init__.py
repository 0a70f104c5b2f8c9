"""dlcore against other people's answers: ONNX's own test cases, PyTorch and Keras.

`python -m tests.conformance` (or `make conformance`) runs all of it and prints a table of what was compared.
"""
