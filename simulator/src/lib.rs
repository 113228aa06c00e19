//! Plays the hosted platforms over HTTP.
