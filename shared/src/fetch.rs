//! Fetching public files over HTTP, with time-outs and size limits.
