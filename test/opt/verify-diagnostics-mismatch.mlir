// RUN: not mlirfuse-opt %s --split-input-file --verify-diagnostics 2>&1 | filecheck %s

// An error that nothing expects.
// CHECK: unexpected {{.*}}mismatch.mlir:6:{{[0-9]+}}: error: use of undeclared SSA value name
func.func @unexpected() -> i32 {
  return %missing : i32
}
// -----
// An expectation that nothing meets.
// CHECK: mismatch.mlir:12:{{.*}}expected error was not produced: never happens
func.func @unmet() {
  // expected-error @+1 {{never happens}}
  return
}
// -----
// The right message on the wrong line is both.
// CHECK: unexpected {{.*}}mismatch.mlir:21:
// CHECK: mismatch.mlir:19:{{.*}}not produced
func.func @displaced() -> i32 { // expected-error {{use of undeclared SSA value name}}

  return %missing : i32
}
