//! How a handler becomes a Lambda function.
