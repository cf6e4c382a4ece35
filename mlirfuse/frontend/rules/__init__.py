"""Rules for ONNX operators, by family. Each module registers its own on import."""
