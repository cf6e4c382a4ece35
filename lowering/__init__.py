"""From a graph of fusion ops to kernels.

Every step is a pass over ordinary MLIR, so that it runs alone from `mlirfuse-opt`. Imports point one way:
passes, patterns -> graph -> algebra -> classify -> plan -> schedule -> kernel -> gpu, cpu -> nvvm -> pipeline.
"""
