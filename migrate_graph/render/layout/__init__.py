"""Where the nodes of a picture go: Graphviz, in a process that a time limit can end."""
