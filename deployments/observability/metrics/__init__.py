"""What is measured, and the way to Ray's Prometheus endpoint."""
