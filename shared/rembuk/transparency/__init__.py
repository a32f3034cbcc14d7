"""The Merkle tree of a service's log: its leaves, its signed heads, and the proofs that anybody may ask for."""
