"""What of ONNX dlcore cannot express, and which operators it does not have; each with its reason."""

from __future__ import annotations

NOISE = "the noise is NumPy's generator's"
INTEGERS = "activations take floating point numbers"

# Operator -> {case: reason}. A listed case is run all the same, and fails the test once it passes.
INEXPRESSIBLE: dict[str, dict[str, str]] = {
    "Clip": {
        "test_clip_default_inbounds": "without bounds it is the identity, and nothing of dlcore's would run",
        "test_clip_default_int8_inbounds": "without bounds it is the identity, and nothing of dlcore's would run",
        "test_clip_default_int8_max": INTEGERS,
        "test_clip_default_int8_min": INTEGERS,
        "test_clip_min_greater_than_max": "no activation has a lower bound above the upper one",
    },
    "Dropout": {
        "test_training_dropout": NOISE,
        "test_training_dropout_default": NOISE,
        "test_training_dropout_default_mask": NOISE,
        "test_training_dropout_mask": NOISE,
    },
    "Gather": {
        "test_gather_negative_indices": "an id below 0 is outside the embedding's table: a row of NaN, never another's"
    },
    "LSTM": {"test_lstm_with_peepholes": "the LSTM has no peepholes"},
}

# Operator -> {output: what it is}: by-products that dlcore does not hand back. The other outputs are compared. A case
# that computes one nevertheless (Attention's weights, from values that are the identity) says so by comparing it.
BY_PRODUCTS: dict[str, dict[int, str]] = {
    "Attention": {3: "the scores before the softmax are not handed back"},
    "LayerNormalization": {1: "mean and inverse deviation are not handed back", 2: ""},
}

# Cases whose own expected values ONNX rounds to half precision at every step, and whose tolerance is below half
# precision's unit. They are compared with ONNX' reference in float32, rounded once.
ROUNDED_ONCE = {
    "test_attention_3d_causal_bf16",
    "test_attention_4d_attn_mask_causal_bf16",
    "test_attention_4d_causal_bf16",
    "test_attention_4d_causal_padded_kv_bf16",
    "test_attention_4d_padded_kv_bf16",
}

# What the other operators are. None of them is a layer, an activation or a loss of dlcore; a new operator of ONNX is
# in neither table, and fails the test.
NOT_OURS: dict[str, str] = {
    "arithmetic and logic, which is jax.numpy's": """
        Abs Acos Acosh Add And Asin Asinh Atan Atanh BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast
        CastLike Ceil Cos Cosh Div Equal Erf Exp Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Log Max Mean
        Min Mod Mul Neg Not Or Pow Reciprocal Round Sign Sin Sinh Sqrt Sub Sum Tan Where Xor""",
    "reductions and linear algebra, which are jax.numpy's": """
        ArgMax ArgMin CumProd CumSum Det Einsum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
        ReduceMin ReduceProd ReduceSum ReduceSumSquare TopK""",
    "shapes, indices and control flow, which are JAX's": """
        CenterCropPad Compress Concat Constant ConstantOfShape DepthToSpace Expand EyeLike Flatten GatherElements
        GatherND Identity If Loop NonZero OneHot OptionalGetElement OptionalHasElement Pad Range Reshape
        ReverseSequence Scan
        Scatter ScatterElements ScatterND SequenceInsert SequenceMap Shape Size Slice SpaceToDepth Split SplitToSequence
        Squeeze TensorScatter Tile Transpose Trilu Unique Unsqueeze""",
    "signals and images": """
        AffineGrid BlackmanWindow Col2Im DFT GridSample HammingWindow HannWindow ImageDecoder MelWeightMatrix
        NonMaxSuppression Resize RoiAlign STFT Upsample""",
    "strings, trees and features": """
        ArrayFeatureExtractor Binarizer LabelEncoder RegexFullMatch StringConcat StringNormalizer StringSplit
        TfIdfVectorizer TreeEnsemble""",
    "quantised arithmetic": """
        ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear""",
    "random bits, which are jax.random's": "Bernoulli",
    "optimisers, which are Optax's": "Adagrad Adam Momentum",
    "layers that dlcore has not: deformable convolution, hardmax, linear attention, division by a norm": """
        DeformConv Hardmax LinearAttention LpNormalization""",
}
