"""The Ray Serve application: ingress, dispatcher, generator and encoder."""
