"""From the scheduled stage to kernels and the host program, and the pipelines that lead there."""
