"""From the `graph` stage to PTX and host objects: every pass and back end of the compiler."""
