"""What LTX-2 costs on a GPU, and what each way to make it faster gains: `python -m benchmarks.gpu`."""
