"""The deployment that holds the model and renders clips. One replica per GPU."""
