"""Which operations become one kernel, and where the values between kernels lie."""
