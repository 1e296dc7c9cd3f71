"""Where tasks, inputs and outputs are kept. Knows no Ray and no HTTP."""
