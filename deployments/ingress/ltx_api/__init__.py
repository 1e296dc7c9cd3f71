"""The hosted LTX API of Lightricks: its routes, fields, states and errors, over the same tasks."""
