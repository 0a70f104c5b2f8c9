"""Kernels for NVIDIA GPUs from Hopper on (sm_90), in Pallas, lowered by Mosaic GPU.

Only what XLA, cuDNN and JAX have nothing as good for. Each runs anywhere in Pallas' interpreter, `interpret=True`: that
is how the tests prove its values. Whether it pays is for a measurement to say: `python -m benchmarks --device gpu`
races each against the form that the public function takes, and a public function takes the kernel once a stored
result shows that it wins. None is stored yet.

There is none for the linear head with its cross-entropy: by count, three products of 2 · N · D · K operations take some
ten times as long on a Hopper GPU as writing and reading a chunk's logits, and `kernels.linear_softmax` leaves the
products to cuBLAS. (At N = 4,096, D = 4,096, K = 151,936 in bfloat16: 22 ms at 700 TFLOP/s; four passes over 1.2 GB of
logits, 1.5 ms at 3.3 TB/s.)
"""
