//! The order of the functions, for everything that runs in one process.
