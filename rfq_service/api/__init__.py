"""The HTTP API: wire structs, strict parsing, one function per operation, one translation of errors."""
