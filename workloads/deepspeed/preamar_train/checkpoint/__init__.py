"""What survives a rank, a pod and a node: folders of files that prove themselves."""
