// RUN: mkdir -p %t && mlirfuse-opt %s -o %t/out.mlir
// RUN: cat %t/out.mlir | mlirfuse-opt - --canonicalize | filecheck %s
// RUN: test -s %t/out.mlir

// RUN lines that need a shell get one, and the tools read standard input.
// CHECK: func.func @f
func.func @f() {
  return
}
