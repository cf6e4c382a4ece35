"""Which of ONNX's operator tests are not native, and why: the list that new rules make shorter.

Reasons are the beginnings of what the importer says. A case that is not explained here fails its test.
"""

# Operators that run on the host.
FALLBACK = {
    "Adagrad": "there is no rule",
    "Adam": "there is no rule",
    "ArrayFeatureExtractor": "there is no rule",
    "BatchNormalization": "is in training mode",
    "Bernoulli": "its definition needs RandomUniformLike",
    "Binarizer": "there is no rule",
    "BitCast": "there is no rule",
    "BlackmanWindow": "its definition needs Range",
    "CenterCropPad": "its definition needs",
    "Col2Im": "there is no rule",
    "Compress": "there is no rule",
    "ConstantOfShape": "its shape (input 0) is known only at run time",
    "CumProd": "there is no rule",
    "DFT": "there is no rule",
    "Det": "there is no rule",
    "Dropout": "may be in training mode",
    "GRU": "there is no rule",
    "HammingWindow": "its definition needs Range",
    "HannWindow": "its definition needs Range",
    "If": "its condition (input 0) is known only at run time",
    "LSTM": "there is no rule",
    "LinearAttention": "its definition needs Scan",
    "Loop": "there is no rule",
    "MaxUnpool": "its output_shape (input 2) is known only at run time",
    "MelWeightMatrix": "there is no rule",
    "Momentum": "there is no rule",
    "NonMaxSuppression": "there is no rule",
    "NonZero": "there is no rule",
    "OneHot": "its depth (input 1) is known only at run time",
    "RNN": "there is no rule",
    "RandomUniformLike": "there is no rule",
    "Range": "its definition needs Loop",
    "STFT": "there is no rule",
    "Scan": "there is no rule",
    "SequenceAt": "there is no rule",
    "SequenceConstruct": "there is no rule",
    "SequenceLength": "there is no rule",
    "SplitToSequence": "there is no rule",
    "TfIdfVectorizer": "there is no rule",
    "TreeEnsemble": "there is no rule",
    "Unique": "there is no rule",
}

# Follow from another node on the host.
CONSEQUENCES = (
    "an input has dimensions that are known only at run time",
    "an input is no tensor that kernels can hold",
)

# Beginnings of names of cases whose result is not the expected one, with the reason.
DIFFERENT = {
    "test_attention_": "half precision: the expected values round every intermediate result",
    "test_bernoulli": "random",
    "test_dft": "ONNX Runtime rounds more",
    "test_image_decoder": "the evaluator needs Pillow",
    "test_maxunpool_export_with_output_shape": "ONNX Runtime reads output_shape in another way",
    "test_range_bfloat16_type_positive_delta_expanded": "the evaluator stacks scalars of a Loop as rows",
    "test_stft": "ONNX Runtime rounds more",
    "test_training_dropout": "random",
}
