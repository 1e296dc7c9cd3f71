"""The Ray cluster and its hosts: nodes, ports, folders, shared memory and the environment that Ray reads."""
