"""WaveNet: a stack of dilated causal convolutions, trained on all time steps at once and sampled one by one."""

from dlcore.nn.wavenet.config import WaveNetConfig, receptive_field
from dlcore.nn.wavenet.generation import wavenet_generate
from dlcore.nn.wavenet.mu_law import mu_law_decode, mu_law_encode
from dlcore.nn.wavenet.network import wavenet, wavenet_init

__all__ = [
    "WaveNetConfig", "mu_law_decode", "mu_law_encode", "receptive_field", "wavenet", "wavenet_generate", "wavenet_init",
]  # fmt: skip
