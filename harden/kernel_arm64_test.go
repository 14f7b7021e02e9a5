package harden

// arm64 has one way round a filter, 32-bit programs: code that a 64-bit process cannot call into.
var archAttempts, archHelpers map[string]attempt
