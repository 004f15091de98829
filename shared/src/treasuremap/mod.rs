//! The GWTM API: request bodies as the wire wants them, and the client.
