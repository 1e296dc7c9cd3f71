"""Cost of LTX-2 on a GPU, and the gain of each optimization: `python -m benchmarks.gpu`."""
