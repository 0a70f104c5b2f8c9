"""Kernels for NVIDIA GPUs from Hopper on (sm_90), in Pallas, lowered by Mosaic GPU.

Only what XLA, cuDNN and JAX have nothing as good for. Each runs anywhere in Pallas' interpreter, `interpret=True`: that
is how the tests prove its values. Whether it pays is for a measurement to say: `python -m benchmarks --device gpu`
races each against the form that the public function takes, and a public function takes the kernel once a stored
result shows that it wins. None is stored yet.
"""
