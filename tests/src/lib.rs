//! Shared by the suites that start real `quorate` processes.
