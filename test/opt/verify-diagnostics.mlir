// RUN: mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-refuse --split-input-file --verify-diagnostics | filecheck %s

// A part that fails as expected leaves no text; the others are printed.
func.func @refused(%x: i32) {
  // expected-error @+1 {{'arith.addi' op is refused}}
  %0 = arith.addi %x, %x {sample.refuse} : i32
  // expected-error-re @below {{'arith.{{mul.}}' op is refused}}
  %1 = arith.muli %x, %x {sample.refuse} : i32
  return
}
// -----
// CHECK-LABEL: func.func @accepted
func.func @accepted(%x: i32) {
  return
}
// -----
func.func @syntax() -> i32 {
  return %missing : i32 // expected-error {{use of undeclared SSA value name}}
}
// -----
// expected-error @below {{entry block must have 1 arguments to match function signature}}
"func.func"() <{function_type = (i32) -> (), sym_name = "verifier"}> ({
  "func.return"() : () -> ()
}) : () -> ()
