"""The replica that holds the model, one a GPU."""
