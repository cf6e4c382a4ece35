"""Code shared by the GPU and CPU emitters: index arithmetic, scalar functions, evaluation of a value at a point."""
