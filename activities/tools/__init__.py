"""Tools: what a model can do besides answering, and the one way to call them."""
