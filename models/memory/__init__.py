"""GPU and host memory: estimates, offloading, sleep mode, errors."""
