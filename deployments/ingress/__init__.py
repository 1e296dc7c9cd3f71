"""The HTTP API: it stores requests as task rows and answers from those rows."""
