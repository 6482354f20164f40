"""A real one-node Kubernetes from plain processes, for tests: `python -m tests.cluster up | down | status | run`.

The programs are built from locked modules (tools/kubernetes) or come from Debian. Everything lies below two
directories, and `down` compares the machine with the record that `up` made of it.
"""
