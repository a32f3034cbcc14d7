"""The mathematics and the file formats of proofs: nothing here asks a database."""
