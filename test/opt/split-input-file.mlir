// RUN: not mlirfuse-opt %s --split-input-file --canonicalize 2>&1 | filecheck %s --check-prefix=PARTS
// RUN: not mlirfuse-opt %s 2>&1 | filecheck %s --check-prefix=WHOLE

// Parts are processed on their own, so two may define the same name, and one that fails does not stop the next.
// The order of the streams is open here: errors come with the line numbers of the whole file.
// PARTS: split-input-file.mlir:16:10: error: use of undeclared SSA value name
// PARTS: func.func @same
// PARTS: // -----
// PARTS: func.func @same
// WHOLE: error:
func.func @same() {
  return
}
// -----
func.func @broken() -> i32 {
  return %missing : i32
}
// -----
func.func @same() {
  return
}
