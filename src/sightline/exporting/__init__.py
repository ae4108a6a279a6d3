"""A trained model as an ONNX file: its graph, the comparison with the model, and how to use it."""
