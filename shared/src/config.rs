//! Every setting, read once, documented once.
